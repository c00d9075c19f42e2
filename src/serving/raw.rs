//! A model with the codes of its inputs and outputs in place of values.

use std::sync::Arc;

use hs_runtime::{
    Buffer, Data, Datatype, Executable, RunError, Tensor, TensorInfo, check_inputs, codes::Layout,
};

/// Takes and gives codes, in the smallest integers that hold each tensor's.
pub(super) struct Codes {
    inner: Arc<dyn Executable>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Codes {
    /// The codes of `inner`, whose inputs and outputs have these types.
    pub(super) fn new(inner: Arc<dyn Executable>, inputs: &[Layout], outputs: &[Layout]) -> Self {
        let side = |infos: &[TensorInfo], layouts: &[Layout]| -> Vec<TensorInfo> {
            let one = |(info, layout): (&TensorInfo, &Layout)| TensorInfo {
                datatype: smallest(layout),
                ..info.clone()
            };
            infos.iter().zip(layouts).map(one).collect()
        };
        Self { inputs: side(inner.inputs(), inputs), outputs: side(inner.outputs(), outputs), inner }
    }
}

/// The smallest integer that holds every code; tensors have at most 64 bits.
fn smallest(layout: &Layout) -> Datatype {
    let format = layout.ty().format;
    match (format.is_signed(), format.width()) {
        (true, ..=8) => Datatype::Int8,
        (true, ..=16) => Datatype::Int16,
        (true, ..=32) => Datatype::Int32,
        (true, _) => Datatype::Int64,
        (false, ..=8) => Datatype::Uint8,
        (false, ..=16) => Datatype::Uint16,
        (false, ..=32) => Datatype::Uint32,
        (false, _) => Datatype::Uint64,
    }
}

/// Codes as integers of a type that holds them.
fn narrow(codes: Tensor, to: Datatype) -> Tensor {
    let shape = codes.shape().to_vec();
    let Data::I64(v) = codes.into_data() else { unreachable!("raw codes are 64-bit integers") };
    let data = match to {
        Datatype::Int8 => Data::I8(v.into_iter().map(|c| c as i8).collect()),
        Datatype::Int16 => Data::I16(v.into_iter().map(|c| c as i16).collect()),
        Datatype::Int32 => Data::I32(v.into_iter().map(|c| c as i32).collect()),
        Datatype::Uint8 => Data::U8(v.into_iter().map(|c| c as u8).collect()),
        Datatype::Uint16 => Data::U16(v.into_iter().map(|c| c as u16).collect()),
        Datatype::Uint32 => Data::U32(v.into_iter().map(|c| c as u32).collect()),
        Datatype::Uint64 => Data::U64(v.into_iter().map(|c| c as u64).collect()),
        _ => Data::I64(v),
    };
    Tensor::new(shape, data).expect("as many elements as before")
}

impl Executable for Codes {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let all = self.inner.run_raw(inputs)?;
        Ok(all.into_iter().zip(&self.outputs).map(|(t, info)| narrow(t, info.datatype)).collect())
    }

    fn run_raw(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.inner.run_raw(inputs)
    }

    fn max_rows(&self) -> Option<usize> {
        self.inner.max_rows()
    }

    fn is_quick(&self, rows: usize) -> bool {
        self.inner.is_quick(rows)
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        check_inputs(&self.inputs, inputs)?;
        let tensors: Vec<Tensor> = inputs.iter().filter_map(Buffer::to_tensor).collect();
        Ok(self.run(&tensors)?.into_iter().map(Buffer::from).collect())
    }
}
