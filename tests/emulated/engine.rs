//! `run`: the engine on emulated cards, against the emulator.

use std::{fs, process::Command};

use hs_hw::{Program, testing::Config, testing::random_program};
use hs_runtime::{Element as _, Tensor, npy, npz};
use hs_xrt_emu::bed::End;

use crate::{
    digits, exported, fixture, opencl, package, random,
    rig::{FAULTS, PACKAGE, Rig, XCLBIN, hypersonic, succeed},
};

/// The digits model's rows, again and again, so many of them.
fn digits_rows(count: usize) -> Tensor {
    rows_of("digits_mlp", count)
}

/// The rows of a model of the fixtures, likewise.
fn rows_of(model: &str, count: usize) -> Tensor {
    let x = npy::load(fixture(model, "x.npy")).unwrap();
    let (rows, all) = (x.rows(), f32::of(x.data()).unwrap());
    let width = all.len() / rows;
    let values = (0..count).flat_map(|r| all[r % rows * width..][..width].iter().copied());
    let shape: Vec<usize> = [count].into_iter().chain(x.shape()[1..].iter().copied()).collect();
    Tensor::of(shape, values.collect()).unwrap()
}

fn verb(verb: &str, output: &str, more: &[&str]) -> Command {
    let mut command = hypersonic();
    command.args([verb, PACKAGE, "--input", "x.npz", "--output", output]).args(more);
    command
}

/// Runs the rows of `x.npz` on the cards and by the emulator, and compares the files.
fn compare(rig: &Rig, what: &str, on_cards: &[&str], more: &[&str]) {
    succeed(verb("emulate", "expected.npz", more).current_dir(rig.at("")));
    let on_cards: Vec<&str> = ["--xclbin", XCLBIN].iter().chain(on_cards).chain(more).copied().collect();
    let (end, said) = rig.run(&mut verb("run", "found.npz", &on_cards));
    assert_eq!(end, End::Exit(0), "{what}: {said}");
    let [found, expected] = ["found.npz", "expected.npz"].map(|file| npz::load(rig.at(file)).unwrap());
    assert_eq!(found, expected, "{what}");
    fs::remove_file(rig.at("found.npz")).unwrap();
}

fn save(rig: &Rig, tensors: &[(String, Tensor)]) {
    npz::save(rig.at("x.npz"), tensors.iter().map(|(name, t)| (name.as_str(), t))).unwrap();
}

/// What of XRT can be called here.
fn apis() -> &'static [&'static str] {
    if opencl::is_installed() { &["native", "opencl"] } else { &["native"] }
}

#[test]
fn xrt_engine_gives_the_emulators_bits_for_any_number_of_rows() {
    for (units, cards) in [(1, 1), (4, 2)] {
        let Some(rig) = Rig::new(digits, units, cards) else { return };
        for rows in [1, 17, 16_384, 16_385] {
            save(&rig, &[("input".to_owned(), digits_rows(rows))]);
            let what = format!("{units} units, {cards} cards, {rows} rows");
            for api in apis() {
                compare(&rig, &format!("{what}, {api}"), &["--api", api], &[]);
            }
        }
        // Many launches in each slot, the last one short.
        save(&rig, &[("input".to_owned(), digits_rows(1000))]);
        compare(&rig, "small launches", &["--rows-per-launch", "7", "--slots", "2"], &[]);
    }
}

#[test]
fn xrt_engine_gives_the_emulators_bits_of_images() {
    let Some(rig) = Rig::new(|out| exported("digits_cnn", out), 2, 1) else { return };
    for rows in [1, 17, 300] {
        save(&rig, &[("input".to_owned(), rows_of("digits_cnn", rows))]);
        for api in apis() {
            compare(&rig, &format!("{rows} rows, {api}"), &["--api", api, "--rows-per-launch", "64"], &[]);
        }
    }
}

/// Codes for all inputs of a Program.
fn codes(program: &Program, rows: usize) -> Vec<(String, Tensor)> {
    let tensor = |id: &hs_hw::ValueId| {
        let node = program.node(*id);
        let layout = hs_runtime::codes::Layout::of(node).unwrap();
        let (low, high) = (node.format().min(), node.format().max());
        let code = |i: usize| {
            (low + (i as i128 * 2_654_435_761 + i128::from(i as u8) * 40_503) % (high - low + 1)) as i64
        };
        let shape: Vec<usize> = [rows].into_iter().chain(layout.onnx_shape().iter().copied()).collect();
        let tensor = Tensor::of(shape, (0..rows * node.len()).map(code).collect()).unwrap();
        (layout.tensor().to_owned(), tensor)
    };
    program.inputs().iter().map(tensor).collect()
}

#[test]
fn xrt_engine_gives_the_emulators_bits_of_random_packages() {
    for seed in 100..106 {
        let units = 1 + seed as u32 % 3;
        let Some(rig) = Rig::new(|out| random(seed, out), units, 1) else { return };
        let program = random_program(seed, &Config::default());
        save(&rig, &codes(&program, 33));
        for api in apis() {
            compare(
                &rig,
                &format!("seed {seed}, {api}"),
                &["--rows-per-launch", "10", "--api", api],
                &["--raw"],
            );
        }
    }
}

#[test]
fn xrt_engine_gives_kernels_their_weights() {
    let program = random_program(21, &Config::default());
    let weights: Vec<u8> = (0..5000).map(|i| (7 * i) as u8).collect();
    let Some(rig) = Rig::new(|out| package(&program, Some(&weights), out), 2, 1) else { return };
    save(&rig, &codes(&program, 100));
    for api in apis() {
        compare(&rig, api, &["--api", api], &["--raw"]);
    }
}

#[test]
fn xrt_engine_finds_what_is_registered_and_replays_its_vectors() {
    let Some(rig) = Rig::new(digits, 2, 1) else { return };
    save(&rig, &[("input".to_owned(), digits_rows(20))]);
    let registry = rig.at("registry");
    let on_card = |output: &str| {
        let mut run = hypersonic();
        run.args(["run", PACKAGE, "--input", "x.npz", "--output", output])
            .env("HYPERSONIC_REGISTRY", &registry);
        rig.run(&mut run)
    };
    let (end, said) = on_card("found.npz");
    assert!(
        end != End::Exit(0) && said.contains("there is no bitstream of it for sw_emu"),
        "{end:?}: {said}"
    );
    let mut register = hypersonic();
    register.current_dir(rig.at("")).args(["bitstream", "register", XCLBIN, "--package", PACKAGE]);
    succeed(register.env("HYPERSONIC_REGISTRY", &registry));
    let (end, said) = on_card("found.npz");
    assert_eq!(end, End::Exit(0), "{said}");
    succeed(verb("emulate", "expected.npz", &[]).current_dir(rig.at("")));
    let [found, expected] = ["found.npz", "expected.npz"].map(|file| npz::load(rig.at(file)).unwrap());
    assert_eq!(found, expected);
    // The registered file is compared with its manifest each time.
    let file = fs::read_dir(&registry).unwrap().map(|e| e.unwrap().path());
    let file = file.into_iter().find(|p| p.extension().is_some_and(|e| e == "xclbin")).unwrap();
    fs::write(&file, b"something else").unwrap();
    let (end, said) = on_card("found.npz");
    assert!(end != End::Exit(0) && said.contains("SHA-256"), "{end:?}: {said}");
}

/// `run` fails and says why.
fn refused(rig: &Rig, on_cards: &[&str], says: &str) {
    let on_cards: Vec<&str> = ["--xclbin", XCLBIN].iter().chain(on_cards).copied().collect();
    let (end, said) = rig.run(&mut verb("run", "found.npz", &on_cards));
    assert!(matches!(end, End::Exit(code) if code != 0) && said.contains(says), "{end:?}: {said}");
    assert!(!rig.at("found.npz").exists());
}

#[test]
fn xrt_engine_refuses_cards_that_do_not_compute_the_model() {
    let Some(rig) = Rig::new(digits, 2, 1) else { return };
    save(&rig, &[("input".to_owned(), digits_rows(5))]);
    for (fault, says) in [
        ("* wrong", "is wrong from byte 0 of known rows on"),
        ("* trailer", "the kernel computes the model with fingerprint"),
        ("* crash", "XRT ended its process"),
        ("* fail-load", "loading the xclbin"),
        ("* hang", "XRT did not answer within 200ms"),
    ] {
        fs::write(rig.at(FAULTS), format!("{fault}\n")).unwrap();
        refused(&rig, &["--step-timeout-ms", "200"], says);
    }
    fs::remove_file(rig.at(FAULTS)).unwrap();
    compare(&rig, "mended", &[], &[]);
}

#[test]
fn xrt_engine_never_shows_xrt_a_bitstream_that_does_not_fit() {
    let Some(rig) = Rig::new(digits, 1, 1) else { return };
    save(&rig, &[("input".to_owned(), digits_rows(5))]);
    let whole = fs::read(rig.at(XCLBIN)).unwrap();
    for cut in [0, 7, 300, 456, whole.len() / 2, whole.len() - 1] {
        fs::write(rig.at(XCLBIN), &whole[..cut]).unwrap();
        refused(&rig, &[], XCLBIN);
    }
    // Another model's.
    let Some(other) = Rig::new(|out| random(3, out), 1, 1) else { return };
    fs::copy(other.at(XCLBIN), rig.at(XCLBIN)).unwrap();
    refused(&rig, &[], "fingerprint");
}
