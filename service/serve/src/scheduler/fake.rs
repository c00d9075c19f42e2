//! A backend that computes `2 x + 1` and does what a test wants besides.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hs_runtime::{Buffer, Datatype, Executable, Input, Payload, RunError, Source, Tensor, TensorInfo};

use crate::{Runner, scheduler::Job};

type Hook = Box<dyn Fn(&[Buffer]) -> Result<(), RunError> + Send + Sync>;

pub(crate) struct Fake {
    ports: [Vec<TensorInfo>; 2],
    hook: Hook,
    quick: Option<usize>,
    max_rows: Option<usize>,
    concurrency: usize,
    /// Values of the first input of each call.
    calls: Mutex<Vec<Vec<u32>>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        let port =
            |name: &str| TensorInfo { name: name.to_owned(), datatype: Datatype::Uint32, shape: vec![None] };
        Self {
            ports: [vec![port("x")], vec![port("y")]],
            hook: Box::new(|_| Ok(())),
            quick: None,
            max_rows: None,
            concurrency: 1,
            calls: Mutex::default(),
        }
    }

    /// It is quick.
    pub(crate) fn quick(self) -> Self {
        self.quick_to(usize::MAX)
    }

    /// It is quick for so many rows.
    pub(crate) fn quick_to(self, rows: usize) -> Self {
        Self { quick: Some(rows), ..self }
    }

    pub(crate) fn max_rows(self, rows: usize) -> Self {
        Self { max_rows: Some(rows), ..self }
    }

    pub(crate) fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// What happens before it computes.
    pub(crate) fn hook(
        self,
        hook: impl Fn(&[Buffer]) -> Result<(), RunError> + Send + Sync + 'static,
    ) -> Self {
        Self { hook: Box::new(hook), ..self }
    }

    pub(crate) fn runner(self: &Arc<Self>, backend: &str, device: &str) -> Runner {
        let executable = Arc::clone(self) as Arc<dyn Executable>;
        Runner { backend: backend.into(), device: device.to_owned(), executable }
    }

    /// Values of the first input of each call so far.
    pub(crate) fn calls(&self) -> Vec<Vec<u32>> {
        self.calls.lock().unwrap().clone()
    }
}

impl Executable for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.ports[0]
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.ports[1]
    }

    fn run(&self, _: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        unreachable!("the scheduler runs buffers")
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        let [x] = inputs else { panic!("{} inputs", inputs.len()) };
        if let Some(limit) = self.max_rows.filter(|limit| x.rows() > *limit) {
            return Err(RunError::TooManyRows { found: x.rows(), limit });
        }
        self.calls.lock().unwrap().push(values(x));
        (self.hook)(inputs)?;
        Ok(vec![buffer(x.shape(), values(x).into_iter().map(result))])
    }

    fn max_rows(&self) -> Option<usize> {
        self.max_rows
    }

    fn is_quick(&self, rows: usize) -> bool {
        self.quick.is_some_and(|quick| rows <= quick)
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }
}

/// What it makes of a value.
pub(crate) fn result(x: u32) -> u32 {
    x.wrapping_mul(2).wrapping_add(1)
}

pub(crate) fn buffer(shape: &[usize], values: impl IntoIterator<Item = u32>) -> Buffer {
    let bytes: Vec<u8> = values.into_iter().flat_map(u32::to_le_bytes).collect();
    Buffer::new(Datatype::Uint32, shape, Bytes::from(bytes)).unwrap()
}

pub(crate) fn values(buffer: &Buffer) -> Vec<u32> {
    buffer.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The same bytes, but elsewhere; where they are `gone`, nobody can read them.
pub(crate) fn remote(buffer: &Buffer, gone: bool) -> Input {
    let source = Elsewhere { bytes: buffer.data().clone(), gone };
    Input::new(buffer.datatype(), buffer.shape().to_vec(), &Payload::Source(Arc::new(source))).unwrap()
}

#[derive(Debug)]
struct Elsewhere {
    bytes: Bytes,
    gone: bool,
}

impl Source for Elsewhere {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), String> {
        if self.gone {
            return Err("it is gone".to_owned());
        }
        to.copy_from_slice(&self.bytes[at..at + to.len()]);
        Ok(())
    }
}

/// A job of one row a value.
pub(crate) fn job(values: &[u32]) -> Job {
    Job {
        inputs: vec![buffer(&[values.len(), 1], values.iter().copied()).into()],
        rows: values.len(),
        priority: 0,
        timeout: None,
    }
}

/// A hook that fails every call.
pub(crate) fn failing(message: &'static str) -> impl Fn(&[Buffer]) -> Result<(), RunError> + Send + Sync {
    move |_| Err(failure(message))
}

/// Rows of this value are wrong.
pub(crate) const WRONG: u32 = 666;

/// A hook that refuses wrong rows.
pub(crate) fn strict(inputs: &[Buffer]) -> Result<(), RunError> {
    match values(&inputs[0]).iter().position(|v| *v == WRONG) {
        None => Ok(()),
        Some(row) => Err(nan(row)),
    }
}

/// The error of a wrong row.
pub(crate) fn nan(row: usize) -> RunError {
    RunError::Nan { input: "x".to_owned(), row, element: 0 }
}

/// A backend's error.
pub(crate) fn failure(message: &str) -> RunError {
    RunError::Backend { backend: "fake", message: message.to_owned() }
}

/// Waits for what happens soon.
pub(crate) fn until(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < LONG, "nothing happened");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Long enough for anything that happens at all.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Lets calls through one by one.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    state: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gates {
    /// Waits to be let through.
    pub(crate) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        let number = state.0;
        drop(self.changed.wait_while(state, |s| s.1 < number).unwrap());
    }

    /// Lets so many more through.
    pub(crate) fn open(&self, count: usize) {
        let mut state = self.state.lock().unwrap();
        state.1 = state.1.saturating_add(count);
        self.changed.notify_all();
    }

    /// A hook that waits to be let through.
    pub(crate) fn hook(self: &Arc<Self>) -> impl Fn(&[Buffer]) -> Result<(), RunError> + Send + Sync + use<> {
        let gates = Arc::clone(self);
        move |_| {
            gates.pass();
            Ok(())
        }
    }

    /// Waits until so many in all have come.
    pub(crate) fn reached(&self, count: usize) {
        until(|| self.state.lock().unwrap().0 >= count);
    }
}
