//! The worker: the process that has a card.
#![expect(unsafe_code, reason = "takes the descriptors that it was started with, uses shared memory")]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use crate::{
    arena::Arena,
    native, opencl,
    plan::{Api, Plan},
    process,
    protocol::{self, Order, Report, Task},
    slot::Slot,
};

/// The first argument with which the supervisor starts its own program as a worker.
pub const WORKER: &str = "xrt-worker";

/// Runs a worker to its end: the supervisor's socket is standard input, the shared memory standard output. Never
/// returns, and runs no destructors: XRT's would take the process down.
pub fn worker() -> ! {
    let code = match descriptors().and_then(|(socket, memory)| serve(socket, &memory)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    };
    hs_xrt::leave(code)
}

/// Takes standard input and output away, so that nothing that prints or reads gets at them.
fn descriptors() -> io::Result<(UnixStream, OwnedFd)> {
    let done = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    let null = File::open("/dev/null")?;
    // SAFETY: descriptors are numbers; those that are made owned are new.
    unsafe {
        let socket = OwnedFd::from_raw_fd(done(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3))?);
        let memory = OwnedFd::from_raw_fd(done(libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3))?);
        done(libc::dup2(null.as_raw_fd(), 0))?;
        done(libc::dup2(2, 1))?;
        Ok((socket.into(), memory))
    }
}

type Reports = Arc<Mutex<UnixStream>>;

fn report(to: &Reports, report: &Report) -> io::Result<()> {
    protocol::write(&mut *to.lock().unwrap_or_else(PoisonError::into_inner), report)
}

/// Serves until the supervisor closes the socket.
fn serve(mut socket: UnixStream, memory: &OwnedFd) -> io::Result<()> {
    let reports: Reports = Arc::new(Mutex::new(socket.try_clone()?));
    let plan = match protocol::read(&mut socket)? {
        Order::Open(plan) => plan,
        Order::Probe => return report(&reports, &Report::Cards(process::look())),
        Order::Step { .. } => return Err(io::Error::other("a step before the card is open")),
    };
    let opened = match plan.api {
        Api::Native => native::open(&plan),
        Api::OpenCl => opencl::open(&plan),
    };
    let slots = match opened {
        Ok(slots) => slots,
        Err(why) => return report(&reports, &Report::Refused(why)),
    };
    let arena = Arc::new(Arena::open(memory, plan.bytes())?);
    let plan = Arc::new(plan);
    let mut threads = Vec::new();
    for (unit, slots) in slots.into_iter().enumerate() {
        let mut senders = Vec::new();
        for (slot, opened) in slots.into_iter().enumerate() {
            let (sender, steps) = mpsc::channel::<(u64, Task, usize)>();
            let (plan, arena, reports) = (Arc::clone(&plan), Arc::clone(&arena), Arc::clone(&reports));
            let mut place = Place { plan, arena, unit, slot, opened };
            thread::Builder::new().name(format!("unit {unit} slot {slot}")).spawn(move || {
                for (number, task, rows) in steps {
                    let fault = place.step(task, rows).err();
                    // Without a supervisor there is nobody to tell; the main thread sees it too.
                    let _: io::Result<()> = report(&reports, &Report::Done { number, fault });
                }
            })?;
            senders.push(sender);
        }
        threads.push(senders);
    }
    report(&reports, &Report::Opened)?;
    loop {
        match protocol::read(&mut socket) {
            Ok(Order::Step { number, unit, slot, rows, task }) => {
                let thread = threads.get(unit).and_then(|slots| slots.get(slot));
                if thread.is_none_or(|t| rows > plan.rows || t.send((number, task, rows)).is_err()) {
                    return Err(io::Error::other(format!(
                        "no step of {rows} rows in slot {slot} of unit {unit}"
                    )));
                }
            }
            Ok(Order::Open(_) | Order::Probe) => return Err(io::Error::other("the card is open already")),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// A slot with its part of the shared memory.
struct Place {
    plan: Arc<Plan>,
    arena: Arc<Arena>,
    unit: usize,
    slot: usize,
    opened: Box<dyn Slot>,
}

impl Place {
    fn step(&mut self, task: Task, rows: usize) -> Result<(), String> {
        let (plan, unit, slot) = (&self.plan, self.unit, self.slot);
        match task {
            Task::ToCard => {
                let range = |i| plan.input(unit, slot, i, rows);
                // SAFETY: while a slot's step is the worker's, the supervisor's side leaves the slot alone, and this
                // thread is the only one of the slot.
                let inputs = (0..plan.inputs.len()).map(|i| unsafe { self.arena.bytes(range(i)) });
                let outputs = (0..plan.outputs.len()).map(|o| plan.output_bytes(o, rows));
                self.opened.copy_to_card(&inputs.collect::<Vec<_>>(), &outputs.collect::<Vec<_>>())
            }
            Task::Run => self.opened.run(u32::try_from(rows).map_err(|e| e.to_string())?),
            Task::FromCard => {
                let range = |o| plan.output(unit, slot, o, rows);
                // SAFETY: as above; outputs do not overlap.
                let outputs = (0..plan.outputs.len()).map(|o| unsafe { self.arena.bytes_mut(range(o)) });
                self.opened.copy_from_card(&mut outputs.collect::<Vec<_>>())
            }
        }
    }
}
