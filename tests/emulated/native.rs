//! XRT's native API, through `hs-xrt`.

use std::{fs, path::Path, sync::Arc, time::Duration};

use hs_emulator::{Emulator, Options};
use hs_hw::{
    ValueId,
    abi::{BEAT_BYTES, RowLayout, Trailer},
    testing::random_inputs,
};
use hs_package::Package;
use hs_xclbin::{Ip, Protocol, Section, SectionKind};
use hs_xrt::{Buffer, Device, Error, Kernel, Run, Xclbin, Xrt};

use crate::{
    digits, random,
    rig::{IMAGES, PACKAGE, Rig, XCLBIN, in_rig},
};

/// A run takes long while other tests use the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The model as the emulator has it.
pub(crate) struct Model {
    pub(crate) package: Package,
    pub(crate) emulator: Emulator,
}

impl Model {
    pub(crate) fn open(package: &Path) -> Self {
        let package = Package::open(package).unwrap();
        let emulator = Emulator::new(Arc::new(package.program().clone()), &Options::default()).unwrap();
        Self { package, emulator }
    }

    fn layouts(&self, ids: &[ValueId]) -> Vec<RowLayout> {
        ids.iter().map(|id| RowLayout::of(self.package.program().node(*id))).collect()
    }

    pub(crate) fn inputs(&self) -> Vec<RowLayout> {
        self.layouts(&self.package.program().inputs())
    }

    pub(crate) fn outputs(&self) -> Vec<RowLayout> {
        self.layouts(&self.package.program().outputs())
    }

    /// Random codes, and what the emulator makes of them: for each input and each output, packed, a trailer behind.
    pub(crate) fn packed(&self, seed: u64, rows: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut codes = vec![Vec::new(); self.inputs().len()];
        for row in random_inputs(self.package.program(), seed, rows) {
            for (codes, row) in codes.iter_mut().zip(row) {
                codes.extend(row.into_iter().map(|code| i64::try_from(code).unwrap()));
            }
        }
        let refs: Vec<&[i64]> = codes.iter().map(Vec::as_slice).collect();
        let results = self.emulator.run_codes(&refs, rows).unwrap();
        let trailer = Trailer::new(rows as u32, &self.package.manifest().fingerprint).to_bytes();
        let inputs = self.inputs().iter().zip(&codes).map(|(layout, codes)| layout.pack(codes)).collect();
        let output = |(layout, codes): (&RowLayout, &Vec<i64>)| {
            let mut bytes = layout.pack(codes);
            bytes.extend(trailer);
            bytes
        };
        (inputs, self.outputs().iter().zip(&results).map(output).collect())
    }

    /// The weights that the kernel loads.
    pub(crate) fn weights(&self) -> Option<Vec<u8>> {
        let weights = self.package.manifest().kernel.as_ref()?.weights.as_ref()?;
        Some(self.package.read(&weights.path).unwrap())
    }

    /// Starts a run of random rows.
    pub(crate) fn start(&self, device: &Device, kernel: &Kernel, seed: u64, rows: usize) -> Started {
        self.start_with(device, kernel, seed, rows, self.weights())
    }

    /// The same with such weights.
    pub(crate) fn start_with(
        &self,
        device: &Device,
        kernel: &Kernel,
        seed: u64,
        rows: usize,
        weights: Option<Vec<u8>>,
    ) -> Started {
        let (inputs, expected) = self.packed(seed, rows);
        let bank = |argument: usize| kernel.arguments()[argument].bank.unwrap();
        let mut run = kernel.run().unwrap();
        let mut argument = 0;
        for bytes in &inputs {
            // Without rows there is nothing to point to.
            let mut buffer = device.buffer(bytes.len().max(BEAT_BYTES), bank(argument)).unwrap();
            buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            buffer.copy_to_card(0..bytes.len()).unwrap();
            run.set_buffer(argument, &buffer).unwrap();
            argument += 1;
        }
        let mut outputs = Vec::new();
        for bytes in &expected {
            let mut buffer = device.buffer(bytes.len(), bank(argument)).unwrap();
            buffer.bytes_mut().fill(0xa5);
            buffer.copy_to_card(0..bytes.len()).unwrap();
            run.set_buffer(argument, &buffer).unwrap();
            outputs.push(buffer);
            argument += 1;
        }
        run.set_scalar(argument, rows as u32).unwrap();
        if let Some(bytes) = weights {
            let mut buffer = device.buffer(bytes.len(), bank(argument + 1)).unwrap();
            buffer.bytes_mut().copy_from_slice(&bytes);
            buffer.copy_to_card(0..bytes.len()).unwrap();
            run.set_buffer(argument + 1, &buffer).unwrap();
        }
        run.start().unwrap();
        Started { run, outputs, expected }
    }

    /// Runs random rows, and compares.
    pub(crate) fn check(&self, device: &Device, kernel: &Kernel, seed: u64, rows: usize) {
        let found = self.start(device, kernel, seed, rows).finish();
        assert!(found.0 == found.1, "{rows} rows");
    }
}

pub(crate) struct Started {
    pub(crate) run: Run,
    pub(crate) outputs: Vec<Buffer>,
    expected: Vec<Vec<u8>>,
}

impl Started {
    /// What the card made of the rows, and the emulator.
    pub(crate) fn finish(mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        self.run.wait(PATIENCE).unwrap();
        let mut found = Vec::new();
        for (buffer, expected) in self.outputs.iter_mut().zip(&self.expected) {
            buffer.copy_from_card(0..expected.len()).unwrap();
            found.push(buffer.bytes()[..expected.len()].to_vec());
        }
        (found, self.expected)
    }
}

/// A card with the rig's xclbin, and its kernel.
pub(crate) fn card(index: u32, model: &Model) -> (Device, Kernel) {
    let mut device = Xrt::open().unwrap().device(index).unwrap();
    device.load(&Xclbin::read(XCLBIN).unwrap()).unwrap();
    let kernel = device.kernel(&model.package.manifest().kernel.as_ref().unwrap().name).unwrap();
    (device, kernel)
}

in_rig! {
    fn xrt_native_runs_the_digits_model(Rig::new(digits, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        for rows in [0, 1, 17, 4097, 16_385] {
            model.check(&device, &kernel, 1, rows);
        }
    }
}

fn random_programs(seed: u64) {
    let model = Model::open(PACKAGE.as_ref());
    let (device, kernel) = card(0, &model);
    for rows in [1, 17, 64] {
        model.check(&device, &kernel, seed, rows);
    }
}

in_rig! {
    fn xrt_native_runs_a_random_program(Rig::new(|out| random(11, out), 1, 1)) {
        random_programs(11);
    }
}

in_rig! {
    fn xrt_native_runs_another_random_program(Rig::new(|out| random(12, out), 2, 1)) {
        random_programs(12);
    }
}

in_rig! {
    fn xrt_native_runs_four_units_beside_each_other(Rig::new(digits, 4, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let (device, any) = card(0, &model);
        let started: Vec<Started> = (0..8).map(|i| model.start(&device, &any, i, 100 + i as usize)).collect();
        for run in started {
            let (found, expected) = run.finish();
            assert!(found == expected);
        }
        let name = &model.package.manifest().kernel.as_ref().unwrap().name;
        for unit in 1..=4 {
            let kernel = device.compute_units(name, &[&format!("{name}_{unit}")]).unwrap();
            model.check(&device, &kernel, unit, 5);
        }
        device.compute_units(name, &[&format!("{name}_5")]).unwrap_err();
    }
}

in_rig! {
    fn xrt_native_runs_two_cards_at_a_time(Rig::new(digits, 2, 2)) {
        let model = Model::open(PACKAGE.as_ref());
        let cards = [card(0, &model), card(1, &model)];
        let started: Vec<Started> =
            (0..8).map(|i| model.start(&cards[i % 2].0, &cards[i % 2].1, i as u64, 300)).collect();
        for run in started {
            let (found, expected) = run.finish();
            assert!(found == expected);
        }
    }
}

in_rig! {
    fn xrt_native_starts_units_by_the_other_protocol(Rig::new(digits, 2, 1)) {
        let xclbin = hs_xclbin::Xclbin::parse(&fs::read(XCLBIN).unwrap()).unwrap();
        let (header, mut sections) = xclbin.into_parts();
        let layout = sections.iter_mut().find(|s| s.kind() == SectionKind::IP_LAYOUT).unwrap();
        let mut units = Ip::read(layout.data()).unwrap();
        for (i, unit) in (0..).zip(&mut units) {
            assert_eq!(unit.protocol(), Protocol::Chain);
            *unit = Ip::kernel(unit.name.clone(), unit.base, i, Protocol::Hs);
        }
        *layout = Section::new(SectionKind::IP_LAYOUT, "ip_layout", Ip::write(&units).unwrap()).unwrap();
        fs::write(XCLBIN, hs_xclbin::Xclbin::new(header, sections).to_bytes()).unwrap();
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        let started: Vec<Started> = (0..4).map(|i| model.start(&device, &kernel, i, 50)).collect();
        for run in started {
            let (found, expected) = run.finish();
            assert!(found == expected);
        }
    }
}

in_rig! {
    fn xrt_native_loads_another_xclbin_after_the_first(Rig::new(digits, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        for _ in 0..2 {
            let (device, kernel) = card(0, &model);
            model.check(&device, &kernel, 3, 9);
        }
    }
}

/// Puts the name of an AWS image in the place of what the xclbin holds.
fn as_aws_image(name: &str) {
    let xclbin = hs_xclbin::Xclbin::parse(&fs::read(XCLBIN).unwrap()).unwrap();
    let (header, mut sections) = xclbin.into_parts();
    let bits = sections.iter_mut().find(|s| s.kind() == SectionKind::BITSTREAM).unwrap();
    *bits = Section::new(SectionKind::BITSTREAM, "image", name.into()).unwrap();
    fs::write(XCLBIN, hs_xclbin::Xclbin::new(header, sections).to_bytes()).unwrap();
}

const IMAGE: &str = "agfi-0123456789abcdef0";

in_rig! {
    fn xrt_native_loads_the_package_of_an_aws_image(Rig::new(digits, 1, 1)) {
        as_aws_image(IMAGE);
        fs::create_dir(IMAGES).unwrap();
        std::os::unix::fs::symlink(fs::canonicalize(PACKAGE).unwrap(), format!("{IMAGES}/{IMAGE}")).unwrap();
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        model.check(&device, &kernel, 1, 17);
    }
}

in_rig! {
    fn xrt_native_does_not_load_what_is_not_ours(Rig::new(digits, 1, 1)) {
        for bits in [IMAGE, "bits of the vendor"] {
            as_aws_image(bits);
            let mut device = Xrt::open().unwrap().device(0).unwrap();
            let error = device.load(&Xclbin::read(XCLBIN).unwrap()).unwrap_err();
            assert!(matches!(error, Error::Call { .. }), "{error}");
        }
    }
}

in_rig! {
    fn xrt_native_computes_nothing_outside_of_buffers(Rig::new(digits, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        let (inputs, outputs) = (model.inputs()[0], model.outputs()[0]);
        // Of 300 rows, inputs or outputs need more than a buffer for 8 of them has; XRT makes buffers of pages.
        for (input_rows, output_rows) in [(8, 300), (300, 8)] {
            let mut input = device.buffer(inputs.bytes(input_rows), kernel.arguments()[0].bank.unwrap()).unwrap();
            let mut output =
                device.buffer(outputs.output_bytes(output_rows), kernel.arguments()[1].bank.unwrap()).unwrap();
            for buffer in [&mut input, &mut output] {
                buffer.bytes_mut().fill(0xa5);
                let all = 0..buffer.bytes().len();
                buffer.copy_to_card(all).unwrap();
            }
            let mut run = kernel.run().unwrap();
            run.set_buffer(0, &input).unwrap();
            run.set_buffer(1, &output).unwrap();
            run.set_scalar(2, 300_u32).unwrap();
            run.start().unwrap();
            run.wait(PATIENCE).unwrap();
            let all = 0..output.bytes().len();
            output.copy_from_card(all).unwrap();
            assert!(output.bytes().iter().all(|byte| *byte == 0xa5));
        }
    }
}
