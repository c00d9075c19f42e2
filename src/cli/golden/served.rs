//! What a server answers, against golden vectors.

use hs_client::{TensorMetadata, Url};
use hs_compiler::diagnostic::Diagnostic;
use hs_package::Port;
use hs_runtime::{
    Buffer, Datatype, Tensor,
    convert::{self, Conversion},
    golden::Golden,
};

use super::Check;
use crate::cli::{
    Context,
    exit::Failure,
    remote::{Remote, ServerArgs, block_on},
};

/// Compares values, where their type is exact, and codes, where they are served.
pub(super) fn verify(
    golden: &Golden,
    url: &Url,
    server: &ServerArgs,
    context: &Context,
) -> Result<(Vec<Check>, Vec<Diagnostic>), Failure> {
    block_on(async {
        let remote = Remote::open(url, server).await?;
        let _step = context.step(format!("{} rows to {url}", golden.about.rows));
        if gives_codes(&remote) {
            return Ok((vec![codes(golden, &remote).await?], Vec::new()));
        }
        let raw_name = format!("{}_raw", server.model);
        let raw = remote.sibling(&raw_name).await?.filter(gives_codes);
        let (mut checks, mut warnings) = (Vec::new(), Vec::new());
        match (inexact(golden, &remote)?, &raw) {
            (None, _) => checks.push(values(golden, &remote).await?),
            (Some(why), Some(_)) => warnings.push(Diagnostic::warning(format!(
                "the values of '{}' are not compared, only the codes of '{raw_name}': {why}",
                server.model
            ))),
            (Some(why), None) => {
                return Err(Failure::input(format!("'{}' cannot be verified: {why}", server.model)).help(format!(
                    "have the server give codes too, as the model '{raw_name}': \
                     parameters {{ key: \"raw\" value {{ string_value: \"true\" }} }} in config.pbtxt"
                )));
            }
        }
        if let Some(raw) = &raw {
            checks.push(codes(golden, raw).await?);
        }
        Ok((checks, warnings))
    })
}

/// Whether a model's inputs and outputs are integers all.
fn gives_codes(remote: &Remote) -> bool {
    let tensors = remote.metadata.inputs.iter().chain(&remote.metadata.outputs);
    tensors.into_iter().all(|t| {
        matches!(
            t.datatype,
            Datatype::Uint8
                | Datatype::Uint16
                | Datatype::Uint32
                | Datatype::Uint64
                | Datatype::Int8
                | Datatype::Int16
                | Datatype::Int32
                | Datatype::Int64
        )
    })
}

/// Bits of the integers that are exact in a type, up to the first one that is not.
fn exact_bits(datatype: Datatype) -> u32 {
    match datatype {
        Datatype::Fp64 => 53,
        Datatype::Fp32 => 24,
        Datatype::Fp16 => 11,
        Datatype::Bf16 => 8,
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64
        | Datatype::Bytes => 0,
    }
}

/// Why the values that a model takes and gives cannot stand for codes.
fn inexact(golden: &Golden, remote: &Remote) -> Result<Option<String>, Failure> {
    let about = &golden.about;
    let sides = [("input", &about.inputs, &remote.metadata.inputs), ("output", &about.outputs, &remote.metadata.outputs)];
    for (what, ports, infos) in sides {
        for (port, info) in ports.iter().zip(matched(what, ports, infos, remote)?) {
            let (format, datatype) = (port.ty.format, info.datatype);
            if format.width() - u32::from(format.is_signed()) > exact_bits(datatype) {
                return Ok(Some(format!("{what} '{}' is {format}, which {datatype} does not hold", port.name)));
            }
        }
    }
    Ok(None)
}

/// The served tensors in the order of `ports`.
fn matched<'a>(
    what: &str,
    ports: &[Port],
    infos: &'a [TensorMetadata],
    remote: &Remote,
) -> Result<Vec<&'a TensorMetadata>, Failure> {
    let foreign = |text: String| {
        let model = &remote.metadata.name;
        Failure::input(format!("the server's model '{model}' is another than the vectors': {text}"))
    };
    let mut found = Vec::new();
    for port in ports {
        let info = infos.iter().find(|i| i.name == port.name);
        found.push(info.ok_or_else(|| foreign(format!("it has no {what} '{}'", port.name)))?);
    }
    match infos.iter().find(|i| ports.iter().all(|p| p.name != i.name)) {
        Some(more) if what == "input" => Err(foreign(format!("it has an input '{}'", more.name))),
        _ => Ok(found),
    }
}

/// The values of codes.
fn to_values(codes: &Tensor, port: &Port) -> Result<Tensor, Failure> {
    let all = codes.as_slice::<i64>().unwrap_or_default();
    let values = all.iter().map(|c| port.ty.format.value(i128::from(*c))).collect();
    Tensor::of(codes.shape(), values).map_err(Failure::internal)
}

/// Values in, values out.
async fn values(golden: &Golden, remote: &Remote) -> Result<Check, Failure> {
    let ports = &golden.about.inputs;
    let infos = matched("input", ports, &remote.metadata.inputs, remote)?;
    let mut inputs = Vec::new();
    for (i, (port, info)) in ports.iter().zip(infos).enumerate() {
        // Values that are not the server's to take give way to those of their codes.
        let given = golden.values.get(i).and_then(|t| {
            convert::to_buffer(t.clone(), info.datatype, Conversion::Exact).ok()
        });
        let buffer = match given {
            Some(buffer) => buffer,
            None => convert::to_buffer(to_values(&golden.inputs[i], port)?, info.datatype, Conversion::Exact)
                .map_err(|e| Failure::input(format!("input '{}': {e}", port.name)))?,
        };
        inputs.push((info, buffer));
    }
    let found = ask(golden, remote, inputs).await?;
    let found: Vec<Tensor> = found
        .into_iter()
        .map(|t| Tensor::of(t.shape(), t.to_f64()).map_err(Failure::internal))
        .collect::<Result<_, _>>()?;
    let expected: Vec<Tensor> = golden
        .outputs
        .iter()
        .zip(&golden.about.outputs)
        .map(|(codes, port)| to_values(codes, port))
        .collect::<Result<_, _>>()?;
    Ok(Check::new("served values", &names(&golden.about.outputs), &expected, &found))
}

/// Codes in, codes out.
async fn codes(golden: &Golden, remote: &Remote) -> Result<Check, Failure> {
    let ports = &golden.about.inputs;
    let infos = matched("input", ports, &remote.metadata.inputs, remote)?;
    let mut inputs = Vec::new();
    for (info, codes) in infos.into_iter().zip(&golden.inputs) {
        let buffer = convert::to_buffer(codes.clone(), info.datatype, Conversion::Exact)
            .map_err(|e| Failure::input(format!("input '{}' is of another type: {e}", info.name)))?;
        inputs.push((info, buffer));
    }
    let found = ask(golden, remote, inputs).await?;
    let wide = |t: Tensor| {
        let buffer = convert::to_buffer(t, Datatype::Int64, Conversion::Exact);
        buffer.and_then(|b| convert::to_tensor(&b)).map_err(Failure::environment)
    };
    let found: Vec<Tensor> = found.into_iter().map(wide).collect::<Result<_, _>>()?;
    Ok(Check::new("served codes", &names(&golden.about.outputs), &golden.outputs, &found))
}

fn names(ports: &[Port]) -> Vec<&str> {
    ports.iter().map(|p| p.name.as_str()).collect()
}

/// The outputs in the order of the golden ones.
async fn ask(
    golden: &Golden,
    remote: &Remote,
    inputs: Vec<(&TensorMetadata, Buffer)>,
) -> Result<Vec<Tensor>, Failure> {
    for (info, buffer) in &inputs {
        remote.check_shape(info, buffer.shape())?;
    }
    matched("output", &golden.about.outputs, &remote.metadata.outputs, remote)?;
    let inputs: Vec<(&str, Buffer)> = inputs.into_iter().map(|(i, b)| (i.name.as_str(), b)).collect();
    let chunks = remote.chunks(&inputs, None)?;
    remote.infer(&chunks, &names(&golden.about.outputs)).await
}
