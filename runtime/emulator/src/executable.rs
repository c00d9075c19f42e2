//! The emulator as a backend.

use std::{ops::Range, sync::Arc};

use hs_runtime::{
    Availability, Backend, Buffer, Datatype, Executable, Input, LoadError, Model, RunError, Tensor,
    TensorInfo, Values, codes::Layout,
};

use crate::{
    Emulator, Options,
    io::{Codes, Encode, by_bytes},
    run::Sink,
};

/// Metadata of an input or output. Values are single-precision floats, as in the ONNX models that Programs are
/// made from.
pub(crate) fn info(layout: &Layout) -> TensorInfo {
    TensorInfo {
        name: layout.tensor().to_owned(),
        datatype: Datatype::Fp32,
        shape: layout.onnx_shape().iter().map(|d| Some(*d)).collect(),
    }
}

impl Emulator {
    /// As [`Executable::run`], with outputs in double precision, which holds every code of up to 53 bits.
    pub fn run_f64(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_tensors(inputs, false, |out| Sink::F64(out))
    }

    fn rows<'a>(&self, shapes: impl ExactSizeIterator<Item = &'a [usize]>) -> Result<usize, RunError> {
        self.check_number(shapes.len())?;
        let mut rows = None;
        for (layout, shape) in self.inputs.iter().zip(shapes) {
            let found = layout.rows_of(shape)?;
            let expected = *rows.get_or_insert(found);
            if found != expected {
                return Err(RunError::Rows { input: layout.tensor().to_owned(), found, expected });
            }
        }
        Ok(rows.unwrap_or(0))
    }

    fn are_floats(&self, datatypes: impl Iterator<Item = Datatype>) -> Result<(), RunError> {
        match self.inputs.iter().zip(datatypes).find(|(_, found)| *found != Datatype::Fp32) {
            None => Ok(()),
            Some((layout, found)) => Err(RunError::Datatype {
                input: layout.tensor().to_owned(),
                found,
                expected: Datatype::Fp32.name(),
            }),
        }
    }

    fn run_tensors<T: hs_runtime::Element>(
        &self,
        inputs: &[Tensor],
        raw: bool,
        sink: fn(&mut [T]) -> Sink<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        let rows = self.rows(inputs.iter().map(Tensor::shape))?;
        let encode = |i: usize, rows: Range<usize>, out: Codes<'_>, _: &mut Vec<u8>| {
            let (layout, x) = (&self.inputs[i], &inputs[i]);
            if raw {
                by_bytes!(out, |out| layout.encode_raw_low(x, rows, out))
            } else {
                by_bytes!(out, |out| layout.encode_low(x, rows, out))
            }
        };
        self.run_rows(rows, &encode, sink)
    }

    fn run_rows<T: hs_runtime::Element>(
        &self,
        rows: usize,
        encode: &Encode<'_>,
        sink: fn(&mut [T]) -> Sink<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        let results = self.run_blocks(rows, encode, sink)?;
        let tensor = |(layout, data): (&Layout, Vec<T>)| {
            let shape: Vec<usize> = [rows].into_iter().chain(layout.onnx_shape().iter().copied()).collect();
            Tensor::of(shape, data).expect("as many elements as the shape has")
        };
        Ok(self.outputs.iter().zip(results).map(tensor).collect())
    }
}

impl Executable for Emulator {
    fn name(&self) -> &str {
        &self.program.name
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.infos[0]
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.infos[1]
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_tensors(inputs, false, |out| Sink::F32(out))
    }

    fn run_raw(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_tensors(inputs, true, |out| Sink::Raw(out))
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        let rows = self.rows(inputs.iter().map(Buffer::shape))?;
        self.are_floats(inputs.iter().map(Buffer::datatype))?;
        let encode = |i: usize, rows: Range<usize>, out: Codes<'_>, _: &mut Vec<u8>| {
            by_bytes!(out, |out| self.inputs[i].encode_low(&inputs[i], rows, out))
        };
        let outputs = self.run_rows(rows, &encode, |out| Sink::F32(out))?;
        Ok(outputs.into_iter().map(Buffer::from).collect())
    }

    fn run_inputs(&self, inputs: &[Input]) -> Result<Vec<Buffer>, RunError> {
        let rows = self.rows(inputs.iter().map(Input::shape))?;
        self.are_floats(inputs.iter().map(Input::datatype))?;
        // What lies elsewhere is fetched by the thread that needs it, into its cache.
        let encode = |i: usize, rows: Range<usize>, out: Codes<'_>, fetched: &mut Vec<u8>| {
            let layout = &self.inputs[i];
            let remote = match &inputs[i] {
                Input::Buffer(b) => return by_bytes!(out, |out| layout.encode_low(b, rows, out)),
                Input::Remote(remote) => remote,
            };
            let (first, n) = (rows.start, rows.len());
            let values = Values::new(remote.datatype(), remote.read(layout.tensor(), rows, fetched)?);
            let encoded = by_bytes!(out, |out| layout.encode_low(values, 0..n, out));
            encoded.map_err(|e| e.of_rows_from(first))
        };
        let outputs = self.run_rows(rows, &encode, |out| Sink::F32(out))?;
        Ok(outputs.into_iter().map(Buffer::from).collect())
    }

    fn is_quick(&self, rows: usize) -> bool {
        // Some 50 µs for the slower kernels, and a single block, so that no other thread is woken.
        !self.strict && rows <= self.block_for(rows) && self.row_work.saturating_mul(rows as u64) <= 100_000
    }

    fn concurrency(&self) -> usize {
        self.threads
    }

    fn is_exact(&self) -> bool {
        true
    }
}

/// The backend `emulator`: runs a Program on this machine's CPU.
#[derive(Debug, Clone, Default)]
pub struct EmulatorBackend {
    /// Options of every model it loads.
    pub options: Options,
}

impl Backend for EmulatorBackend {
    fn name(&self) -> &'static str {
        "emulator"
    }

    fn availability(&self) -> Availability {
        let isa = self.options.isa.unwrap_or_else(crate::Isa::best);
        if isa.is_available() {
            Availability::Available(format!("this CPU, {isa:?}"))
        } else {
            Availability::NotAvailable(format!("this CPU has no {isa:?}; ask for another or for none"))
        }
    }

    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError> {
        let Some(program) = &model.program else {
            return Err(LoadError::Form {
                backend: self.name(),
                needs: "a compiled program",
                model: model.name.clone(),
            });
        };
        let emulator = Emulator::new(Arc::clone(program), &self.options)
            .map_err(|e| LoadError::Model { model: model.name.clone(), message: e.to_string() })?;
        Ok(Arc::new(emulator))
    }
}
