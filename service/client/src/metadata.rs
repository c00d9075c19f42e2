//! What a server says about a model.

use hs_runtime::{Buffer, Datatype};

use crate::ClientError;

/// A model's input or output as clients send and get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Shape, the batch axis included where the model has one; `None`: any size.
    pub shape: Vec<Option<usize>>,
}

impl TensorMetadata {
    pub(crate) fn new(name: String, datatype: &str, shape: &[i64]) -> Result<Self, ClientError> {
        let datatype = self::datatype(&name, datatype)?;
        let shape = shape
            .iter()
            .map(|d| match *d {
                -1 => Ok(None),
                d => usize::try_from(d).map(Some).map_err(|_| {
                    ClientError::Answer(format!(
                        "tensor '{name}' has shape {shape:?} in the model's metadata"
                    ))
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, datatype, shape })
    }

    /// Whether a tensor may have this shape.
    pub fn takes(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(d, s)| d.is_none_or(|d| d == *s))
    }

    /// The shape as the protocol writes it.
    pub fn shape_text(&self) -> String {
        let dims: Vec<_> = self.shape.iter().map(|d| d.map_or("-1".to_owned(), |d| d.to_string())).collect();
        format!("[{}]", dims.join(", "))
    }
}

/// What a server says about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// The versions that are served.
    pub versions: Vec<String>,
    /// What runs it, in the server's words.
    pub platform: String,
    /// The inputs, in the model's order.
    pub inputs: Vec<TensorMetadata>,
    /// The outputs, in the model's order.
    pub outputs: Vec<TensorMetadata>,
}

fn datatype(tensor: &str, name: &str) -> Result<Datatype, ClientError> {
    Datatype::parse(name)
        .ok_or_else(|| ClientError::Answer(format!("tensor '{tensor}' has the unknown datatype '{name}'")))
}

/// An output of an answer, from its parts on the wire.
pub(crate) fn output(
    name: String,
    datatype: &str,
    shape: &[i64],
    data: bytes::Bytes,
) -> Result<(String, Buffer), ClientError> {
    let wrong = |what: String| ClientError::Answer(format!("output '{name}': {what}"));
    let datatype = self::datatype(&name, datatype)?;
    let dims: Result<Vec<usize>, _> = shape.iter().map(|d| usize::try_from(*d)).collect();
    let dims = dims.map_err(|_| wrong(format!("shape {shape:?}")))?;
    let buffer = Buffer::new(datatype, dims, data).map_err(|e| wrong(e.to_string()))?;
    Ok((name, buffer))
}
