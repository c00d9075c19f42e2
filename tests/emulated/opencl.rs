//! Xilinx's OpenCL, through `hs-opencl`.

use std::{fs, path::Path, thread};

use hs_opencl::{Card, Error, OpenCl, Ports, Program, Slot};

use crate::{
    digits,
    native::Model,
    random,
    rig::{PACKAGE, Rig, XCLBIN, in_rig},
    with_weights,
};

/// A rig; none, and it is said why, where OpenCL's loader is not installed.
fn rig(write: impl FnOnce(&Path), units: u32, cards: u32) -> Option<Rig> {
    let rig = Rig::new(write, units, cards)?;
    is_installed().then_some(rig)
}

/// Whether OpenCL's loader is installed; says if it is not.
pub(crate) fn is_installed() -> bool {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let found = folders.iter().any(|folder| Path::new(folder).join("libOpenCL.so.1").exists());
    if !found {
        println!("SKIPPED: no libOpenCL.so.1 (Debian's package ocl-icd-libopencl1)");
    }
    found
}

fn load(card: &Card) -> Program {
    card.load(&fs::read(XCLBIN).unwrap()).unwrap()
}

fn kernel(model: &Model) -> String {
    model.package.manifest().kernel.as_ref().unwrap().name.clone()
}

/// A slot of a compute unit, counted from 1, for so many rows.
fn slot(program: &Program, model: &Model, unit: u32, rows: usize) -> Slot {
    let kernel = kernel(model);
    let unit = program.unit(&kernel, &format!("{kernel}_{unit}"), model.weights().as_deref()).unwrap();
    unit.slot(&ports(model, rows)).unwrap()
}

fn ports(model: &Model, rows: usize) -> Ports {
    Ports {
        inputs: model.inputs().iter().map(|l| l.bytes(rows)).collect(),
        outputs: model.outputs().iter().map(|l| l.output_bytes(rows)).collect(),
    }
}

/// Runs random rows, and compares.
fn check(slot: &mut Slot, model: &Model, seed: u64, rows: usize) {
    let (inputs, expected) = model.packed(seed, rows);
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let mut found: Vec<Vec<u8>> = expected.iter().map(|bytes| vec![0xa5; bytes.len()]).collect();
    slot.copy_to_card(&inputs).unwrap();
    slot.run(rows as u32).unwrap();
    slot.copy_from_card(&mut found.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
    assert!(found == expected, "{rows} rows");
}

in_rig! {
    fn xrt_opencl_runs_the_digits_model(rig(digits, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let program = load(&OpenCl::open().unwrap().card(0).unwrap());
        let mut slot = slot(&program, &model, 1, 4097);
        for rows in [0, 1, 17, 4097, 5] {
            check(&mut slot, &model, 1 + rows as u64, rows);
        }
    }
}

in_rig! {
    fn xrt_opencl_runs_a_random_program(rig(|out| random(12, out), 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let program = load(&OpenCl::open().unwrap().card(0).unwrap());
        let mut slot = slot(&program, &model, 1, 64);
        for rows in [1, 17, 64] {
            check(&mut slot, &model, 3, rows);
        }
    }
}

in_rig! {
    fn xrt_opencl_keeps_units_and_slots_of_two_cards_busy(rig(digits, 2, 2)) {
        let model = Model::open(PACKAGE.as_ref());
        let opencl = OpenCl::open().unwrap();
        assert_eq!(opencl.cards().unwrap().len(), 2);
        let programs = [0, 1].map(|index| load(&opencl.card(index).unwrap()));
        let mut slots: Vec<Slot> = Vec::new();
        for program in &programs {
            for unit in [1, 1, 2, 2] {
                slots.push(slot(program, &model, unit, 300));
            }
        }
        thread::scope(|scope| {
            for (slot, seed) in slots.iter_mut().zip(0..) {
                let model = &model;
                scope.spawn(move || {
                    for rows in [300, 1, 33] {
                        check(slot, model, seed, rows);
                    }
                });
            }
        });
    }
}

in_rig! {
    fn xrt_opencl_refuses_what_does_not_fit(rig(digits, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let opencl = OpenCl::open().unwrap();
        assert!(matches!(opencl.card(1).unwrap_err(), Error::NoCard { index: 1, found: 1 }));
        let card = opencl.card(0).unwrap();
        let file = fs::read(XCLBIN).unwrap();
        assert!(matches!(card.load(&file[..file.len() - 1]).unwrap_err(), Error::Xclbin(_)));
        assert!(matches!(card.load(b"xclbin").unwrap_err(), Error::Xclbin(_)));
        let program = card.load(&file).unwrap();
        let name = kernel(&model);
        let of = |kernel: &str, unit: &str, weights| program.unit(kernel, unit, weights).unwrap_err();
        assert!(matches!(of("other", "other_1", None), Error::NoKernel { .. }));
        assert!(matches!(of(&name, &format!("{name}_2"), None), Error::NoUnit { .. }));
        assert!(matches!(of(&name, &format!("{name}_1"), Some(&[1])), Error::Arguments { .. }));
        let unit = program.unit(&name, &format!("{name}_1"), None).unwrap();
        let fewer = Ports { outputs: vec![], ..ports(&model, 8) };
        assert!(matches!(unit.slot(&fewer).unwrap_err(), Error::Arguments { .. }));
        let mut slot = unit.slot(&ports(&model, 8)).unwrap();
        let long = vec![0; model.inputs()[0].bytes(8) + 1];
        assert!(matches!(slot.copy_to_card(&[&long]).unwrap_err(), Error::Length { .. }));
        assert!(matches!(slot.copy_from_card(&mut []).unwrap_err(), Error::Count { .. }));
        check(&mut slot, &model, 1, 8);
    }
}

in_rig! {
    fn xrt_opencl_loads_weights(rig(with_weights, 2, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let program = load(&OpenCl::open().unwrap().card(0).unwrap());
        let mut slots = [1, 2, 2].map(|unit| slot(&program, &model, unit, 40));
        for (slot, seed) in slots.iter_mut().zip(0..) {
            check(slot, &model, seed, 40);
        }
        let name = kernel(&model);
        let error = program.unit(&name, &format!("{name}_1"), None).unwrap_err();
        assert!(matches!(error, Error::Arguments { .. }), "{error}");
    }
}
