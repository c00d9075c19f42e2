//! Inputs and outputs of a configuration.

use std::path::Path;

use hs_model_config::{DataType, ModelInput, ModelOutput, ModelTensorReshape};
use hs_runtime::Datatype;

use super::{Port, SpecError, files};

/// The element type of the same name; `None` for the one that says nothing.
pub(super) fn datatype(found: DataType) -> Option<Datatype> {
    Some(match found {
        DataType::TypeInvalid => return None,
        DataType::TypeBool => Datatype::Bool,
        DataType::TypeUint8 => Datatype::Uint8,
        DataType::TypeUint16 => Datatype::Uint16,
        DataType::TypeUint32 => Datatype::Uint32,
        DataType::TypeUint64 => Datatype::Uint64,
        DataType::TypeInt8 => Datatype::Int8,
        DataType::TypeInt16 => Datatype::Int16,
        DataType::TypeInt32 => Datatype::Int32,
        DataType::TypeInt64 => Datatype::Int64,
        DataType::TypeFp16 => Datatype::Fp16,
        DataType::TypeFp32 => Datatype::Fp32,
        DataType::TypeFp64 => Datatype::Fp64,
        DataType::TypeString => Datatype::Bytes,
        DataType::TypeBf16 => Datatype::Bf16,
    })
}

/// The configuration's name of an element type.
pub(super) fn data_type(of: Datatype) -> DataType {
    match of {
        Datatype::Bool => DataType::TypeBool,
        Datatype::Uint8 => DataType::TypeUint8,
        Datatype::Uint16 => DataType::TypeUint16,
        Datatype::Uint32 => DataType::TypeUint32,
        Datatype::Uint64 => DataType::TypeUint64,
        Datatype::Int8 => DataType::TypeInt8,
        Datatype::Int16 => DataType::TypeInt16,
        Datatype::Int32 => DataType::TypeInt32,
        Datatype::Int64 => DataType::TypeInt64,
        Datatype::Fp16 => DataType::TypeFp16,
        Datatype::Fp32 => DataType::TypeFp32,
        Datatype::Fp64 => DataType::TypeFp64,
        Datatype::Bytes => DataType::TypeString,
        Datatype::Bf16 => DataType::TypeBf16,
    }
}

pub(super) fn input(model: &str, input: &ModelInput) -> Result<Port, SpecError> {
    let field = format!("input '{}':", input.name);
    let fail = |problem: &str| Err(SpecError::new(model, &field, problem));
    if input.is_shape_tensor {
        return fail("is_shape_tensor is set; shape tensors are not supported");
    }
    if input.is_non_linear_format_io {
        return fail("is_non_linear_format_io is set; only row-major tensors are supported");
    }
    if input.optional {
        tracing::warn!(model, input = input.name, "optional is ignored: every request must bring the input");
    }
    if input.allow_ragged_batch {
        tracing::info!(
            model,
            input = input.name,
            "allow_ragged_batch is ignored: only requests of equal shape are batched"
        );
    }
    port(model, &field, &input.name, input.data_type, &input.dims, input.reshape.as_ref())
}

pub(super) fn output(model: &str, output: &ModelOutput, directory: &Path) -> Result<Port, SpecError> {
    let field = format!("output '{}':", output.name);
    let fail = |problem: String| SpecError::new(model, &field, problem);
    if output.is_shape_tensor || output.is_non_linear_format_io {
        return Err(fail(
            "is_shape_tensor and is_non_linear_format_io are not supported; leave them out".to_owned(),
        ));
    }
    let mut port =
        port(model, &field, &output.name, output.data_type, &output.dims, output.reshape.as_ref())?;
    if !output.label_filename.is_empty() {
        port.labels = files::labels(directory, &output.label_filename)
            .map_err(|why| fail(format!("label_filename: {why}")))?;
    }
    Ok(port)
}

fn port(
    model: &str,
    field: &str,
    name: &str,
    data_type: i32,
    dims: &[i64],
    reshape: Option<&ModelTensorReshape>,
) -> Result<Port, SpecError> {
    let fail = |problem: String| Err(SpecError::new(model, field, problem));
    if name.is_empty() {
        return fail("name is empty; give the tensor's name".to_owned());
    }
    let Some(datatype) = DataType::try_from(data_type).ok().and_then(datatype) else {
        return fail(format!("data_type is {}; give one such as TYPE_FP32", type_name(data_type)));
    };
    check_dims(model, &format!("{field} dims"), dims)?;
    let reshape = reshape.map(|r| r.shape.clone());
    if let Some(to) = &reshape {
        check_dims(model, &format!("{field} reshape"), to)?;
        let free = |dims: &[i64]| dims.iter().filter(|d| **d < 0).count();
        let count = |dims: &[i64]| dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d));
        let fits = match (free(dims), free(to)) {
            (0, 0) => count(dims).is_some() && count(dims) == count(to),
            (1, 1) => true,
            _ => false,
        };
        if !fits {
            return fail(format!(
                "reshape from {dims:?} to {to:?} does not keep the number of elements; both have as many, or one -1 each"
            ));
        }
    }
    Ok(Port {
        name: name.into(),
        datatype,
        dims: dims.to_vec(),
        reshape,
        optional: false,
        labels: Vec::new(),
    })
}

fn check_dims(model: &str, field: &str, dims: &[i64]) -> Result<(), SpecError> {
    if let Some(odd) = dims.iter().find(|d| **d < 1 && **d != -1) {
        let problem = format!("{dims:?} has {odd}; sizes are above 0, or -1 for any size");
        return Err(SpecError::new(model, field, problem));
    }
    let count = dims.iter().filter(|d| **d > 0).try_fold(1i64, |n, d| n.checked_mul(*d));
    if count.is_none_or(|n| n > i64::from(i32::MAX)) {
        let problem = format!("{dims:?} has more elements than a request can bring");
        return Err(SpecError::new(model, field, problem));
    }
    Ok(())
}

/// A number of the enum, or of none, for a person.
pub(super) fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(|_| data_type.to_string(), |t| t.as_str_name().to_owned())
}
