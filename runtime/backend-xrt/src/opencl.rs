//! Slots through XRT's OpenCL.

use hs_hw::abi::BEAT_BYTES;
use hs_opencl::{Error, OpenCl, Ports};

use crate::{
    plan::Plan,
    slot::{Slot, Slots},
};

/// Opens a card, loads it, and makes its slots.
pub(crate) fn open(plan: &Plan) -> Result<Slots, String> {
    let (file, weights) = (plan.bitstream()?, plan.weights()?);
    open_card(plan, &file, weights.as_deref()).map_err(|e| e.to_string())
}

fn open_card(plan: &Plan, file: &[u8], weights: Option<&[u8]>) -> Result<Slots, Error> {
    let program = OpenCl::open()?.card(plan.device as usize)?.load(file)?;
    let ports = Ports {
        inputs: (0..plan.inputs.len()).map(|i| plan.input_bytes(i, plan.rows)).collect(),
        outputs: (0..plan.outputs.len()).map(|o| plan.output_bytes(o, plan.rows)).collect(),
    };
    let mut slots = Slots::new();
    for unit in &plan.units {
        let unit = program.unit(&plan.kernel, unit, weights)?;
        let slot = || unit.slot(&ports).map(|slot| Box::new(slot) as Box<dyn Slot>);
        slots.push((0..plan.slots).map(|_| slot()).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(slots)
}

impl Slot for hs_opencl::Slot {
    fn copy_to_card(&mut self, inputs: &[&[u8]], outputs: &[usize]) -> Result<(), String> {
        self.copy_to_card(inputs)
            .and_then(|()| self.clear_ends(outputs, BEAT_BYTES))
            .map_err(|e| e.to_string())
    }

    fn run(&mut self, rows: u32) -> Result<(), String> {
        self.run(rows).map_err(|e| e.to_string())
    }

    fn copy_from_card(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), String> {
        self.copy_from_card(outputs).map_err(|e| e.to_string())
    }
}
