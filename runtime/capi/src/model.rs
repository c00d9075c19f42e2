//! A package opened on a device.

use std::sync::Arc;

use hs_emulator::{Emulator, Options};
use hs_hw::{
    Fingerprint, Node, Program, ValueId,
    abi::{BEAT_BYTES, RowLayout, Trailer},
};
use hs_package::{Package, Port};
use hs_runtime::{Datatype, RunError, Values, codes::Layout};

use crate::{Error, card::Card};

/// An input or output.
#[derive(Debug)]
pub struct Tensor {
    layout: Layout,
    perm: Vec<usize>,
}

/// What runs packed rows, or codes.
enum Device {
    Emulator(Box<Emulator>),
    Card(Card),
}

/// A package opened on a device. Values are single-precision floats in ONNX order.
pub struct Model {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    fingerprint: Fingerprint,
    device: Device,
}

impl Tensor {
    fn of(node: &Node, perm: &[usize]) -> Result<Self, Error> {
        let layout = Layout::of(node)
            .ok_or_else(|| Error::Internal(format!("node '{}' is no input or output", node.name)))?;
        Ok(Self { layout, perm: perm.to_vec() })
    }

    /// ONNX name, shape, type.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Axis i of a packed row is ONNX axis `perm()[i]`.
    pub fn perm(&self) -> &[usize] {
        &self.perm
    }

    /// Its packed rows.
    pub fn packed(&self) -> &RowLayout {
        self.layout.packed()
    }

    /// Elements of `rows` rows.
    fn elements(&self, rows: usize) -> Result<usize, Error> {
        // So many that their packed rows, with a trailer, have a size.
        packed_bytes(self.packed().stride, rows)
            .and_then(|b| b.checked_add(BEAT_BYTES))
            .map(|_| self.packed().elements * rows)
            .ok_or_else(|| Error::Argument(format!("{rows} rows are more than memory can hold; pass fewer")))
    }
}

/// Bytes of packed rows, filled up to whole beats; `None` where there is no such size.
pub(crate) fn packed_bytes(stride: usize, rows: usize) -> Option<usize> {
    stride.checked_mul(rows)?.checked_next_multiple_of(BEAT_BYTES)
}

impl Model {
    /// Opens the package in directory `package` on `device`: `emulator`, or `card:DEVICE,FILE.xclbin`, where DEVICE is
    /// an index or a PCIe address.
    pub fn open(package: &str, device: &str) -> Result<Self, Error> {
        let unknown = || {
            Error::Argument(format!(
                "'{device}' is no device; expected 'emulator', or 'card:0,FILE.xclbin' with the card's index or PCIe \
                 address"
            ))
        };
        // What is wrong with the name is said before the package is read.
        let card = match device.strip_prefix("card:").map(|rest| rest.split_once(',')) {
            Some(Some((index, xclbin))) if !index.is_empty() && !xclbin.is_empty() => Some((index, xclbin)),
            None if device == "emulator" => None,
            Some(_) | None => return Err(unknown()),
        };
        let package = Package::open(package)?;
        let program: &Program = package.program();
        let tensors = |ids: Vec<ValueId>, ports: &[Port]| -> Result<Vec<Tensor>, Error> {
            ids.iter().zip(ports).map(|(id, port)| Tensor::of(program.node(*id), &port.perm)).collect()
        };
        let inputs = tensors(program.inputs(), &package.manifest().inputs)?;
        let outputs = tensors(program.outputs(), &package.manifest().outputs)?;
        let device = match card {
            Some((index, xclbin)) => Device::Card(Card::open(&package, index, xclbin)?),
            None => {
                let emulator = Emulator::new(Arc::new(program.clone()), &Options::default())
                    .map_err(|e| Error::Device(format!("the emulator refuses the model: {e}")))?;
                Device::Emulator(Box::new(emulator))
            }
        };
        Ok(Self { inputs, outputs, fingerprint: program.fingerprint(), device })
    }

    /// The inputs, in model order.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// The outputs, in model order.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Runs `rows` rows. `inputs`: for each model input, in order, the little-endian bytes of its values; `outputs`:
    /// room for each model output's values.
    pub fn run(&self, rows: usize, inputs: &[&[u8]], outputs: &mut [&mut [f32]]) -> Result<(), Error> {
        check_count("inputs", inputs.len(), &self.inputs)?;
        check_count("outputs", outputs.len(), &self.outputs)?;
        for (tensor, found) in self.inputs.iter().zip(inputs) {
            check_length("input", tensor, "values", found.len() / 4, tensor.elements(rows)?, rows)?;
        }
        for (tensor, found) in self.outputs.iter().zip(&*outputs) {
            check_length("output", tensor, "values", found.len(), tensor.elements(rows)?, rows)?;
        }
        let values = inputs.iter().map(|bytes| Values::new(Datatype::Fp32, bytes));
        match &self.device {
            Device::Emulator(emulator) => {
                let encoded = self.inputs.iter().zip(values).map(|(tensor, values)| {
                    let mut codes = vec![0; tensor.layout.row_len() * rows];
                    tensor.layout.encode(values, 0..rows, &mut codes).map(|()| codes)
                });
                let codes = encoded.collect::<Result<Vec<_>, RunError>>()?;
                let results = run_codes(emulator, rows, &codes)?;
                for ((tensor, codes), values) in self.outputs.iter().zip(&results).zip(outputs) {
                    tensor.layout.decode_f32(codes, values);
                }
            }
            Device::Card(card) => {
                let packed = self.inputs.iter().zip(values).map(|(tensor, values)| {
                    let mut bytes = vec![0; tensor.packed().bytes(rows)];
                    tensor.layout.pack(values, 0..rows, &mut bytes).map(|()| bytes)
                });
                let packed = packed.collect::<Result<Vec<_>, RunError>>()?;
                let mut results: Vec<Vec<u8>> =
                    self.outputs.iter().map(|t| vec![0; t.packed().output_bytes(rows)]).collect();
                let from: Vec<&[u8]> = packed.iter().map(Vec::as_slice).collect();
                let mut to: Vec<&mut [u8]> = results.iter_mut().map(Vec::as_mut_slice).collect();
                self.run_card(card, rows, &from, &mut to)?;
                for ((tensor, bytes), values) in self.outputs.iter().zip(&results).zip(outputs) {
                    tensor.layout.unpack_f32(bytes, values);
                }
            }
        }
        Ok(())
    }

    /// As [`run`](Self::run), on packed rows; each output has room for its trailer, which has been checked.
    pub fn run_packed(&self, rows: usize, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), Error> {
        check_count("inputs", inputs.len(), &self.inputs)?;
        check_count("outputs", outputs.len(), &self.outputs)?;
        for (tensor, found) in self.inputs.iter().zip(inputs) {
            tensor.elements(rows)?;
            check_length("input", tensor, "bytes", found.len(), tensor.packed().bytes(rows), rows)?;
        }
        for (tensor, found) in self.outputs.iter().zip(&*outputs) {
            tensor.elements(rows)?;
            check_length("output", tensor, "bytes", found.len(), tensor.packed().output_bytes(rows), rows)?;
        }
        match &self.device {
            Device::Card(card) => self.run_card(card, rows, inputs, outputs),
            Device::Emulator(emulator) => {
                let codes = self.inputs.iter().zip(inputs).map(|(tensor, bytes)| unpack(tensor, bytes, rows));
                let results = run_codes(emulator, rows, &codes.collect::<Result<Vec<_>, _>>()?)?;
                let trailer = self.trailer(rows)?.to_bytes();
                for ((tensor, codes), bytes) in self.outputs.iter().zip(&results).zip(outputs) {
                    let (to, end) = bytes.split_at_mut(tensor.packed().bytes(rows));
                    to.copy_from_slice(&tensor.packed().pack(codes));
                    end.copy_from_slice(&trailer);
                }
                Ok(())
            }
        }
    }

    /// Runs buffers of the right sizes and checks the trailers: a card may hold another model.
    fn run_card(
        &self,
        card: &Card,
        rows: usize,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<(), Error> {
        let expected = self.trailer(rows)?;
        card.run(rows, inputs, outputs)?;
        for (tensor, bytes) in self.outputs.iter().zip(outputs) {
            expected
                .check(&bytes[tensor.packed().bytes(rows)..])
                .map_err(|source| Error::Trailer { output: tensor.layout.tensor().to_owned(), source })?;
        }
        Ok(())
    }

    fn trailer(&self, rows: usize) -> Result<Trailer, Error> {
        let rows = u32::try_from(rows)
            .map_err(|_| Error::Argument(format!("{rows} packed rows; at most {} in one call", u32::MAX)))?;
        Ok(Trailer::new(rows, &self.fingerprint))
    }
}

/// Codes in hardware order, a vector a model input and output.
fn run_codes(emulator: &Emulator, rows: usize, inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, RunError> {
    let inputs: Vec<&[i64]> = inputs.iter().map(Vec::as_slice).collect();
    emulator.run_codes(&inputs, rows)
}

fn unpack(tensor: &Tensor, bytes: &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    tensor.packed().unpack(bytes, rows).map_err(|e| Error::Internal(e.to_string()))
}

fn check_count(what: &str, found: usize, tensors: &[Tensor]) -> Result<(), Error> {
    if found == tensors.len() {
        return Ok(());
    }
    let names: Vec<&str> = tensors.iter().map(|t| t.layout.tensor()).collect();
    Err(Error::Argument(format!("{found} {what}, but the model has {}: {}", names.len(), names.join(", "))))
}

fn check_length(
    side: &str,
    tensor: &Tensor,
    unit: &str,
    found: usize,
    expected: usize,
    rows: usize,
) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let name = tensor.layout.tensor();
    Err(Error::Argument(format!("{side} '{name}' has {found} {unit}; {rows} rows have {expected}")))
}
