//! One call of an executable: what it may do wrong never gets further than here.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use hs_runtime::{Buffer, Executable, Input, RunError};

/// Why a call gave nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The request is wrong.
    Request(RunError),
    /// The backend failed: what it says.
    Backend(String),
}

impl Fault {
    /// The same of a call for the rows from `first` on: rows are named as the client numbers them.
    pub(crate) fn of_piece(self, first: usize) -> Self {
        match self {
            Self::Request(e) => Self::Request(e.of_rows_from(first)),
            other @ Self::Backend(_) => other,
        }
    }
}

/// Runs so many rows, or inputs without a batch axis, and checks that the outputs belong to them.
pub(crate) fn call(
    executable: &dyn Executable,
    inputs: &[Input],
    rows: Option<usize>,
) -> Result<Vec<Buffer>, Fault> {
    let outputs = match catch_unwind(AssertUnwindSafe(|| executable.run_inputs(inputs))) {
        Ok(Ok(outputs)) => outputs,
        Ok(Err(e)) if e.is_backends() => return Err(Fault::Backend(e.to_string())),
        Ok(Err(e)) => return Err(Fault::Request(e)),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            return Err(Fault::Backend(format!("panicked: {}", text.unwrap_or("without a message"))));
        }
    };
    let expected = executable.outputs();
    if outputs.len() != expected.len() {
        let (found, expected) = (outputs.len(), expected.len());
        return Err(Fault::Backend(format!("gave {found} outputs, but the model has {expected}")));
    }
    if let Some(rows) = rows {
        let wrong = |(_, b): &(_, &Buffer)| b.shape().first() != Some(&rows);
        if let Some((info, b)) = expected.iter().zip(&outputs).find(wrong) {
            let (name, shape) = (&info.name, b.shape());
            return Err(Fault::Backend(format!("gave output '{name}' of shape {shape:?} for {rows} rows")));
        }
    }
    Ok(outputs)
}

/// A thread that makes calls for another one, which does not wait for ever. It is left to itself when a call does not
/// return in time, and ends when it does.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    thread: Option<mpsc::Sender<Task>>,
}

type Task = Box<dyn FnOnce() + Send>;

/// A call that another thread makes.
enum State {
    Running,
    Done(Result<Vec<Buffer>, Fault>),
    /// Nobody waits for it.
    Abandoned,
}

impl Caller {
    /// As [`call`], for `limit` at most. `stuck` counts calls that have not returned in time and still have not.
    pub(crate) fn call(
        &mut self,
        executable: &Arc<dyn Executable>,
        inputs: &[Input],
        rows: Option<usize>,
        limit: Duration,
        stuck: &Arc<AtomicUsize>,
    ) -> Result<Vec<Buffer>, Fault> {
        let shared = Arc::new((Mutex::new(State::Running), Condvar::new()));
        let task: Task = {
            let (shared, stuck) = (Arc::clone(&shared), Arc::clone(stuck));
            let (executable, inputs) = (Arc::clone(executable), inputs.to_vec());
            Box::new(move || {
                let result = call(&*executable, &inputs, rows);
                drop((executable, inputs));
                let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*state, State::Abandoned) {
                    stuck.fetch_sub(1, Ordering::AcqRel);
                } else {
                    *state = State::Done(result);
                    shared.1.notify_one();
                }
            })
        };
        self.start(task)?;
        let state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |state: &mut State| matches!(state, State::Running);
        let (mut state, _) =
            shared.1.wait_timeout_while(state, limit, running).unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Abandoned) {
            State::Done(result) => result,
            State::Running | State::Abandoned => {
                stuck.fetch_add(1, Ordering::AcqRel);
                self.thread = None;
                Err(Fault::Backend(format!("did not return within {limit:?}")))
            }
        }
    }

    fn start(&mut self, task: Task) -> Result<(), Fault> {
        let task = match &self.thread {
            Some(thread) => match thread.send(task) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(task)) => task,
            },
            None => task,
        };
        let (send, receive) = mpsc::channel::<Task>();
        thread::Builder::new()
            .name("hs-call".to_owned())
            .spawn(move || receive.into_iter().for_each(|task| task()))
            .map_err(|e| Fault::Backend(format!("no thread to call it on: {e}")))?;
        // The thread has just started to listen.
        let _ = send.send(task);
        self.thread = Some(send);
        Ok(())
    }
}
