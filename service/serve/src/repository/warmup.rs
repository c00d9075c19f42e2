//! Requests that are run before a version is ready, so that the first client does not pay for what is done once.

use std::{fs, path::Path};

use bytes::Bytes;
use hs_model_config::{DataType, ModelWarmup, model_warmup::input::InputDataType};
use hs_runtime::{Buffer, Datatype};

use crate::{LoadedModel, Port, Spec, inside, spec::SpecError};

/// The folder of the model that holds the data of warm-ups.
const FOLDER: &str = "warmup";
/// Bytes of an input at most.
const MAX_BYTES: usize = 1 << 30;

/// Runs the warm-ups of the configuration on every runner.
pub(super) fn run(spec: &Spec, model: &LoadedModel, directory: &Path) -> Result<(), SpecError> {
    for warmup in &spec.config.model_warmup {
        let fail =
            |problem: String| SpecError::new(&spec.name, format!("model_warmup '{}':", warmup.name), problem);
        let inputs = inputs(spec, warmup, directory).map_err(fail)?;
        let mut failures = Vec::new();
        for runner in &model.runners {
            let mut calls = (0..warmup.count.max(1)).map(|_| runner.executable.run_buffers(&inputs));
            match calls.find_map(Result::err) {
                None => {}
                // As with requests, what one backend fails another one may do.
                Some(e) if e.is_backends() => failures.push(format!("{runner:?}: {e}")),
                Some(e) => return Err(fail(e.to_string())),
            }
        }
        if failures.len() == model.runners.len() {
            return Err(fail(failures.join("; ")));
        }
        for why in failures {
            tracing::warn!(model = &*spec.name, "warm-up failed on {why}");
        }
    }
    Ok(())
}

fn inputs(spec: &Spec, warmup: &ModelWarmup, directory: &Path) -> Result<Vec<Buffer>, String> {
    if let Some(odd) = warmup.inputs.keys().find(|name| spec.inputs.iter().all(|p| *p.name != **name)) {
        return Err(format!("the model has no input '{odd}'"));
    }
    let most = spec.max_batch.max(1);
    let rows = (warmup.batch_size as usize).max(1);
    if rows > most {
        return Err(format!("batch_size is {rows}; expected at most max_batch_size, which is {most}"));
    }
    let batch = (spec.max_batch > 0).then_some(rows);
    let one = |port: &Port| {
        let named = |why: String| format!("input '{}': {why}", port.name);
        let input = warmup.inputs.get(&*port.name).ok_or_else(|| named("it is missing".to_owned()))?;
        if input.data_type() != DataType::TypeInvalid
            && crate::spec::datatype(input.data_type()) != Some(port.datatype)
        {
            return Err(named(format!(
                "data_type is {}; the model's is {}",
                input.data_type().as_str_name(),
                port.datatype
            )));
        }
        let dims =
            if input.dims.is_empty() { port.reshape.as_ref().unwrap_or(&port.dims) } else { &input.dims };
        let shape = dims.iter().map(|d| usize::try_from(*d)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| named(format!("dims is {dims:?}; give a size for each axis")))?;
        let shape: Vec<usize> = batch.into_iter().chain(shape).collect();
        let size = port.datatype.size().unwrap_or(4);
        let bytes = shape.iter().try_fold(size, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_BYTES);
        let bytes = bytes.ok_or_else(|| named(format!("{shape:?} is more than {MAX_BYTES} bytes")))?;
        let data = match &input.input_data_type {
            Some(InputDataType::InputDataFile(file)) => {
                let path = inside(&directory.join(FOLDER), file).map_err(named)?;
                fs::read(&path).map_err(|e| named(format!("{}: {e}", path.display())))?
            }
            Some(InputDataType::RandomData(true)) => random(port.datatype, bytes / size),
            Some(InputDataType::RandomData(false) | InputDataType::ZeroData(_)) | None => vec![0; bytes],
        };
        Buffer::new(port.datatype, shape, Bytes::from(data)).map_err(|e| named(e.to_string()))
    };
    spec.inputs.iter().map(one).collect()
}

/// The same small numbers each time: floats between 1 and 2, integers below 8, empty strings.
fn random(datatype: Datatype, count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut data = Vec::new();
    for _ in 0..count {
        let r = next();
        match datatype {
            Datatype::Fp16 => data.extend((0x3c00 | (r & 0x3ff) as u16).to_le_bytes()),
            Datatype::Bf16 => data.extend((0x3f80 | (r & 0x7f) as u16).to_le_bytes()),
            Datatype::Fp32 => data.extend((0x3f80_0000 | (r & 0x7f_ffff) as u32).to_le_bytes()),
            Datatype::Fp64 => data.extend((0x3ff0_0000_0000_0000 | r & 0xf_ffff_ffff_ffff).to_le_bytes()),
            Datatype::Bool => data.push((r & 1) as u8),
            Datatype::Bytes => data.extend([0; 4]),
            _ => data.extend(&(r & 7).to_le_bytes()[..datatype.size().unwrap_or(1)]),
        }
    }
    data
}
