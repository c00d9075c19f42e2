//! A backend that gives input i back as output i, sharing the memory: for tests and measurements of everything around
//! it, with delays and faults on demand.
//!
//! Options of a model, by name:
//!
//! | option | meaning |
//! | --- | --- |
//! | `execute_delay_ms` | milliseconds that a call takes |
//! | `fail` | what a failing call does: `backend` (an error of the backend), `nan` (an error of the request), `panic`, `hang` |
//! | `fail_every` | every so manieth call fails, the first one not unless it is 1 [default: 1] |

use std::{
    collections::BTreeMap,
    fmt::Display,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hs_runtime::{
    Availability, Backend, Buffer, Executable, LoadError, Model, RunError, Tensor, TensorInfo, check_inputs,
};

/// Name of the backend.
const NAME: &str = "identity";

/// The backend `identity`. A model's inputs and outputs are those that its configuration declares, of any type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity;

impl Backend for Identity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn availability(&self) -> Availability {
        Availability::Available("this CPU".to_owned())
    }

    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError> {
        let refuse = |message: String| LoadError::Model { model: model.name.clone(), message };
        if model.inputs.is_empty() || model.inputs.len() != model.outputs.len() {
            return Err(refuse(format!(
                "{} inputs and {} outputs; {NAME} gives each input back, so list as many outputs as inputs",
                model.inputs.len(),
                model.outputs.len()
            )));
        }
        for (i, o) in model.inputs.iter().zip(&model.outputs) {
            if i.datatype != o.datatype || i.shape != o.shape {
                return Err(refuse(format!(
                    "output '{}' is {} {:?}, the input '{}' in its place {} {:?}; they must be the same",
                    o.name, o.datatype, o.shape, i.name, i.datatype, i.shape
                )));
            }
        }
        let fault = match model.options.get("fail").map(String::as_str) {
            None | Some("") => None,
            Some("backend") => Some(Fault::Backend),
            Some("nan") => Some(Fault::Nan),
            Some("panic") => Some(Fault::Panic),
            Some("hang") => Some(Fault::Hang),
            Some(other) => {
                return Err(refuse(format!("fail is '{other}'; expected backend, nan, panic or hang")));
            }
        };
        Ok(Arc::new(Copier {
            name: model.name.clone(),
            inputs: model.inputs.clone(),
            outputs: model.outputs.clone(),
            delay: Duration::from_millis(number(&model.options, "execute_delay_ms", 0).map_err(refuse)?),
            fault,
            every: number(&model.options, "fail_every", 1).map_err(refuse)?.max(1),
            calls: AtomicU64::new(0),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }))
    }
}

fn number<T: FromStr<Err: Display>>(
    options: &BTreeMap<String, String>,
    key: &str,
    default: T,
) -> Result<T, String> {
    let Some(text) = options.get(key) else { return Ok(default) };
    text.trim().parse().map_err(|e| format!("{key} is '{text}', expected a whole number: {e}"))
}

/// What a failing call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Backend,
    Nan,
    Panic,
    Hang,
}

struct Copier {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    delay: Duration,
    fault: Option<Fault>,
    every: u64,
    calls: AtomicU64,
    cores: usize,
}

impl Copier {
    fn check(&self, found: usize) -> Result<(), RunError> {
        if found != self.inputs.len() {
            let expected = self.inputs.iter().map(|i| i.name.clone()).collect();
            return Err(RunError::Inputs { expected, found });
        }
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        let Some(fault) = self.fault else { return Ok(()) };
        if !(self.calls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every) {
            return Ok(());
        }
        match fault {
            Fault::Backend => {
                Err(RunError::Backend { backend: NAME, message: "failed, as its option asks".to_owned() })
            }
            Fault::Nan => Err(RunError::Nan { input: self.inputs[0].name.clone(), row: 0, element: 0 }),
            Fault::Panic => panic!("{NAME} panics, as its option asks"),
            Fault::Hang => loop {
                std::thread::park();
            },
        }
    }
}

impl Executable for Copier {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.check(inputs.len())?;
        Ok(inputs.to_vec())
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        check_inputs(&self.inputs, inputs)?;
        self.check(inputs.len())?;
        Ok(inputs.to_vec())
    }

    fn is_quick(&self, _rows: usize) -> bool {
        self.delay.is_zero() && self.fault != Some(Fault::Hang)
    }

    fn concurrency(&self) -> usize {
        self.cores
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hs_runtime::Datatype;

    use super::*;

    fn model(datatypes: &[Datatype], options: &[(&str, &str)]) -> Model {
        let info = |prefix: &str, (i, datatype): (usize, &Datatype)| TensorInfo {
            name: format!("{prefix}{i}"),
            datatype: *datatype,
            shape: vec![Some(2)],
        };
        Model {
            name: "m".to_owned(),
            inputs: datatypes.iter().enumerate().map(|d| info("in", d)).collect(),
            outputs: datatypes.iter().enumerate().map(|d| info("out", d)).collect(),
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Model::default()
        }
    }

    fn zeros(datatype: Datatype) -> Buffer {
        let bytes = 2 * datatype.size().unwrap_or(4);
        Buffer::new(datatype, [1, 2], Bytes::from(vec![0; bytes])).unwrap()
    }

    #[test]
    fn every_type_comes_back_in_the_same_memory() {
        let executable = Identity.load(&model(Datatype::ALL, &[])).unwrap();
        let inputs: Vec<Buffer> = Datatype::ALL.iter().map(|d| zeros(*d)).collect();
        let outputs = executable.run_buffers(&inputs).unwrap();
        assert_eq!(outputs, inputs);
        for (i, o) in inputs.iter().zip(&outputs) {
            assert_eq!(i.data().as_ptr(), o.data().as_ptr());
        }
        assert!(executable.is_quick(1) && executable.concurrency() >= 1);
        assert!(executable.run_buffers(&inputs[1..]).is_err());
        let mut swapped = inputs;
        swapped.swap(0, 1);
        assert!(matches!(executable.run_buffers(&swapped), Err(RunError::Datatype { .. })));
    }

    #[test]
    fn faults_come_when_asked() {
        let run = |options: &[(&str, &str)]| {
            let executable = Identity.load(&model(&[Datatype::Fp32], options)).unwrap();
            move || executable.run_buffers(&[zeros(Datatype::Fp32)])
        };
        let every = run(&[("fail", "backend"), ("fail_every", "3")]);
        let failed: Vec<bool> = (0..6).map(|_| every().is_err()).collect();
        assert_eq!(failed, [false, false, true, false, false, true]);
        assert!(run(&[("fail", "backend")])().unwrap_err().is_backends());
        assert!(!run(&[("fail", "nan")])().unwrap_err().is_backends());
        let panics = run(&[("fail", "panic")]);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        let begin = std::time::Instant::now();
        run(&[("execute_delay_ms", "20")])().unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20));
        let slow = Identity.load(&model(&[Datatype::Fp32], &[("execute_delay_ms", "1")])).unwrap();
        assert!(!slow.is_quick(1));
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let error = |model: Model| Identity.load(&model).err().unwrap().to_string();
        assert!(error(model(&[], &[])).contains("0 inputs and 0 outputs"));
        let mut odd = model(&[Datatype::Fp32, Datatype::Int8], &[]);
        odd.outputs.swap(0, 1);
        assert!(error(odd).contains("output 'out1' is INT8"));
        for (key, value) in [("execute_delay_ms", "soon"), ("fail", "often"), ("fail_every", "-1")] {
            assert!(error(model(&[Datatype::Fp32], &[(key, value)])).contains(key));
        }
    }
}
