//! What a bench sends.

use hs_client::{TensorMetadata, load::Random};
use hs_runtime::{
    Buffer, Datatype, Tensor,
    convert::{self, Conversion},
};

use super::DataArgs;
use crate::cli::{exit::Failure, remote::Remote, tensors};

/// Different requests, at most.
const DIFFERENT: usize = 4096;
/// Elements of an input, at most: more cannot be sent anyway.
const ELEMENTS: usize = 1 << 31;

impl DataArgs {
    /// Rows of a request, where said.
    pub(super) fn rows(&self) -> Result<Option<usize>, Failure> {
        match self.batch.as_slice() {
            [] => Ok(None),
            [n] => Ok(Some(*n as usize)),
            several => {
                let found = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                Err(Failure::usage(format!("--batch {found}: of a server's model one size is measured"))
                    .help("vary --concurrency or --rate, or run bench for each size"))
            }
        }
    }
}

/// The inputs of the requests, each by name; `rows`: of a request, where said.
pub(super) fn requests<'a>(
    args: &DataArgs,
    rows: Option<usize>,
    remote: &'a Remote,
) -> Result<Vec<Vec<(&'a str, Buffer)>>, Failure> {
    let model = &remote.metadata.name;
    let batch = match (rows, remote.max_batch) {
        (Some(_), None) => {
            return Err(Failure::usage(format!("--batch: model '{model}' has no batches (max_batch_size is 0)")));
        }
        (Some(n), Some(max)) if n > max => {
            return Err(Failure::usage(format!("--batch {n}: model '{model}' takes {max} rows at most")));
        }
        (batch, max) => max.map(|_| batch.unwrap_or(1)),
    };
    if args.input.is_empty() { Ok(vec![random(args, remote, batch)?]) } else { from_files(args, remote, batch) }
}

/// Whole batches of the rows of `--input`.
fn from_files<'a>(
    args: &DataArgs,
    remote: &'a Remote,
    batch: Option<usize>,
) -> Result<Vec<Vec<(&'a str, Buffer)>>, Failure> {
    let infos = &remote.metadata.inputs;
    let names: Vec<&str> = infos.iter().map(|i| i.name.as_str()).collect();
    let tensors = tensors::load("--input", &args.input, &names)?;
    let mut inputs = Vec::new();
    for (info, tensor) in infos.iter().zip(tensors) {
        remote.check_shape(info, tensor.shape())?;
        inputs.push((info.name.as_str(), buffer(info, tensor)?));
    }
    let Some(batch) = batch else { return Ok(vec![inputs]) };
    let rows = inputs.iter().map(|(_, b)| b.rows()).min().unwrap_or(0);
    if rows < batch {
        return Err(Failure::input(format!("the input has {rows} rows, a request takes {batch} (--batch)")));
    }
    let request = |i: usize| {
        let rows = i * batch..(i + 1) * batch;
        inputs.iter().map(|(name, b)| (*name, b.slice_rows(rows.clone()))).collect()
    };
    Ok((0..(rows / batch).min(DIFFERENT)).map(request).collect())
}

/// What an input takes, rounded to its type.
fn buffer(info: &TensorMetadata, tensor: Tensor) -> Result<Buffer, Failure> {
    convert::to_buffer(tensor, info.datatype, Conversion::Rounding)
        .map_err(|e| Failure::input(format!("input '{}': {e}", info.name)))
}

/// One request of random numbers.
fn random<'a>(
    args: &DataArgs,
    remote: &'a Remote,
    batch: Option<usize>,
) -> Result<Vec<(&'a str, Buffer)>, Failure> {
    let mut sizes = args.shape.iter().map(|text| sizes(text, remote)).collect::<Result<Vec<_>, _>>()?;
    sizes.sort();
    if let Some(pair) = sizes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Failure::usage(format!("--shape is given twice for input '{}'", pair[0].0)));
    }
    let mut random = Random::new(args.seed);
    let one = |info: &'a TensorMetadata| {
        let name = info.name.as_str();
        let shape = match sizes.iter().find(|(n, _)| *n == name) {
            Some((_, dims)) => batch.into_iter().chain(dims.iter().copied()).collect(),
            None => {
                let dims = batch.map(Some).into_iter().chain(info.shape.iter().copied().skip(batch.iter().len()));
                let shape: Option<Vec<usize>> = dims.collect();
                shape.ok_or_else(|| {
                    let (model, shape) = (&remote.metadata.name, info.shape_text());
                    Failure::usage(format!("input '{name}' of model '{model}' has shape {shape}: -1 is any size"))
                        .help(format!("choose one: --shape {name}:D1,D2 (without the batch axis)"))
                })?
            }
        };
        remote.check_shape(info, &shape)?;
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= ELEMENTS);
        let count = count.ok_or_else(|| Failure::usage(format!("input '{name}': shape {shape:?} is too large")))?;
        Ok((name, elements(info, shape, count, &mut random)?))
    };
    remote.metadata.inputs.iter().map(one).collect()
}

/// `NAME:D1,D2`. Names may hold colons.
fn sizes<'a>(text: &'a str, remote: &Remote) -> Result<(&'a str, Vec<usize>), Failure> {
    let wrong = || Failure::usage(format!("--shape {text}: expected NAME:D1,D2, such as points:2,100"));
    let (name, dims) = text.rsplit_once(':').ok_or_else(wrong)?;
    let inputs = &remote.metadata.inputs;
    if !inputs.iter().any(|i| i.name == name) {
        let known: Vec<_> = inputs.iter().map(|i| i.name.as_str()).collect();
        return Err(Failure::usage(format!("--shape {text}: the model has no input '{name}'"))
            .help(format!("its inputs are {}", known.join(", "))));
    }
    let dims = dims.split(',').map(|d| d.trim().parse::<usize>().ok()).collect::<Option<Vec<_>>>();
    Ok((name, dims.ok_or_else(wrong)?))
}

fn elements(
    info: &TensorMetadata,
    shape: Vec<usize>,
    count: usize,
    random: &mut Random,
) -> Result<Buffer, Failure> {
    let tensor = match info.datatype {
        Datatype::Bytes => {
            let letters = |random: &mut Random| random.bits().to_le_bytes().map(|b| b'a' + b % 26);
            let strings = (0..count).flat_map(|_| [8u32.to_le_bytes().as_slice(), &letters(random)].concat());
            return Buffer::new(Datatype::Bytes, shape, strings.collect()).map_err(Failure::internal);
        }
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
            Tensor::of(shape, (0..count).map(|_| random.unit()).collect())
        }
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64 => Tensor::of(shape, (0..count).map(|_| (random.bits() & 1) as u8).collect()),
    };
    buffer(info, tensor.map_err(Failure::internal)?)
}
