//! Slots through XRT's native API.

use std::time::Duration;

use hs_hw::abi::BEAT_BYTES;
use hs_xrt::{Buffer, Error, Kernel, Run, Xclbin, Xrt};

use crate::{
    plan::Plan,
    slot::{Slot, Slots},
};

/// The supervisor has the deadline, and ends this process.
const NEVER: Duration = Duration::from_secs(u64::MAX >> 16);

struct NativeSlot {
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    run: Run,
    /// Index of the argument that counts rows.
    rows: usize,
}

/// Opens a card, loads it, and makes its slots.
pub(crate) fn open(plan: &Plan) -> Result<Slots, String> {
    let (file, weights) = (plan.bitstream()?, plan.weights()?);
    open_device(plan, &file, weights.as_deref()).map_err(|e| e.to_string())
}

fn open_device(plan: &Plan, file: &[u8], weights: Option<&[u8]>) -> Result<Slots, Error> {
    let xrt = Xrt::open()?;
    let mut device = match &plan.address {
        Some(address) => xrt.device_at(address)?,
        None => xrt.device(plan.device)?,
    };
    device.load(&Xclbin::new(file)?)?;
    let rows = plan.inputs.len() + plan.outputs.len();
    let mut slots = Slots::new();
    for unit in &plan.units {
        // Each compute unit has memories of its own.
        let kernel = device.compute_units(&plan.kernel, &[unit])?;
        let buffer = |argument: usize, bytes: usize| device.buffer(bytes, bank(&kernel, argument)?);
        let weights = weights.map(|found| {
            let mut weights = buffer(rows + 1, found.len())?;
            weights.bytes_mut().copy_from_slice(found);
            weights.copy_to_card(0..found.len())?;
            Ok::<_, Error>(weights)
        });
        let weights = weights.transpose()?;
        let slot = || -> Result<Box<dyn Slot>, Error> {
            let inputs = (0..plan.inputs.len()).map(|i| buffer(i, plan.input_bytes(i, plan.rows)));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let outputs = (0..plan.outputs.len())
                .map(|o| buffer(plan.inputs.len() + o, plan.output_bytes(o, plan.rows)));
            let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
            let mut run = kernel.run()?;
            for (i, buffer) in inputs.iter().chain(&outputs).enumerate() {
                run.set_buffer(i, buffer)?;
            }
            if let Some(weights) = &weights {
                run.set_buffer(rows + 1, weights)?;
            }
            Ok(Box::new(NativeSlot { inputs, outputs, run, rows }))
        };
        slots.push((0..plan.slots).map(|_| slot()).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(slots)
}

fn bank(kernel: &Kernel, argument: usize) -> Result<u32, Error> {
    let arguments = kernel.arguments();
    arguments.get(argument).and_then(|a| a.bank).ok_or_else(|| Error::NoArgument {
        kernel: kernel.name().to_owned(),
        index: argument,
        arguments: arguments.len(),
    })
}

impl Slot for NativeSlot {
    fn copy_to_card(&mut self, inputs: &[&[u8]], outputs: &[usize]) -> Result<(), String> {
        for (buffer, bytes) in self.inputs.iter_mut().zip(inputs) {
            buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            buffer.copy_to_card(0..bytes.len()).map_err(|e| e.to_string())?;
        }
        for (buffer, bytes) in self.outputs.iter_mut().zip(outputs) {
            let trailer = bytes - BEAT_BYTES..*bytes;
            buffer.bytes_mut()[trailer.clone()].fill(0);
            buffer.copy_to_card(trailer).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn run(&mut self, rows: u32) -> Result<(), String> {
        let mut run = || -> Result<(), Error> {
            self.run.set_scalar(self.rows, rows)?;
            self.run.start()?;
            self.run.wait(NEVER)
        };
        run().map_err(|e| e.to_string())
    }

    fn copy_from_card(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), String> {
        for (buffer, bytes) in self.outputs.iter_mut().zip(outputs) {
            buffer.copy_from_card(0..bytes.len()).map_err(|e| e.to_string())?;
            bytes.copy_from_slice(&buffer.bytes()[..bytes.len()]);
        }
        Ok(())
    }
}
