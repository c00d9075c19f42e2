//! Packing, unpacking and trailers in C++ and Rust, against the runtime.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{
    Program,
    abi::{RowLayout, Trailer},
    testing::{Config, Rng, random_program},
};
use hs_runtime::{Datatype, Values, codes::Layout};

use crate::{bindings, pass_through, tools, write};

/// A compiled driver, in either language.
pub(crate) type Driver = PathBuf;

fn emit(dir: &Path, models: &[(String, Program)]) {
    for (name, program) in models {
        write(&bindings(name, program), dir);
    }
}

fn cpp_driver(dir: &Path, models: &[(String, Program)]) -> Driver {
    let mut source = String::new();
    for (name, _) in models {
        source += &format!("#include \"{name}.hpp\"\n");
    }
    let list: Vec<String> = models.iter().map(|(name, _)| format!("X({name})")).collect();
    source += &format!("#define MODELS(X) {}\n{}", list.join(" "), include_str!("drivers/rows.cpp"));
    let (path, program) = (dir.join("driver.cpp"), dir.join("driver_cpp"));
    fs::write(&path, source).unwrap();
    tools::run(tools::gxx().arg(&path).arg("-o").arg(&program));
    program
}

fn rust_driver(dir: &Path, models: &[(String, Program)]) -> Driver {
    let mut source = String::new();
    for (name, _) in models {
        source += &format!("#[path = \"rust/{name}.rs\"]\nmod {name};\n");
    }
    let list: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
    source += &format!("macro_rules! models {{ ($m:ident) => {{ $m!({}); }} }}\n", list.join(" "));
    source += include_str!("drivers/rows.rs");
    let (path, program) = (dir.join("driver.rs"), dir.join("driver_rust"));
    fs::write(&path, source).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2021", "-D", "warnings", "-C", "debug-assertions"]);
    tools::run(rustc.arg(&path).arg("-o").arg(&program));
    program
}

/// The drivers that can be built here, with the name of their language.
pub(crate) fn drivers(dir: &Path, models: &[(String, Program)], what: &str) -> Vec<(&'static str, Driver)> {
    emit(dir, models);
    let mut drivers = Vec::new();
    if tools::cxx(what) {
        drivers.push(("C++", cpp_driver(dir, models)));
    }
    if tools::rustc(what) {
        drivers.push(("Rust", rust_driver(dir, models)));
    }
    drivers
}

/// What a driver does with a file.
pub(crate) struct Task {
    pub(crate) what: &'static str,
    pub(crate) model: String,
    pub(crate) tensor: usize,
    pub(crate) rows: usize,
    pub(crate) input: Vec<u8>,
}

/// What each task gives: its bytes, or the message of its error.
pub(crate) fn run(driver: &Driver, dir: &Path, tasks: &[Task]) -> Vec<Result<Vec<u8>, String>> {
    let mut lines = String::new();
    let mut outputs = Vec::new();
    for task in tasks {
        let (from, to) = (tools::fresh(dir, "in"), tools::fresh(dir, "out"));
        fs::write(&from, &task.input).unwrap();
        let Task { what, model, tensor, rows, .. } = task;
        lines += &format!("{what} {model} {tensor} {rows} {} {}\n", from.display(), to.display());
        outputs.push(to);
    }
    let mut child = Command::new(driver).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success(), "{}", out.status);
    let answers = String::from_utf8(out.stdout).unwrap();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), tasks.len());
    let result = |(answer, path): (&&str, &PathBuf)| match *answer {
        "ok" => Ok(fs::read(path).unwrap()),
        message => Err(message.to_owned()),
    };
    answers.iter().zip(&outputs).map(result).collect()
}

/// Numbers on, beside and between the codes of a type, beyond its range, and any other but NaN.
pub(crate) fn values(rng: &mut Rng, ty: Type, n: usize) -> Vec<f32> {
    let grid = 2f64.powi(-ty.format.frac() / 2) * 2f64.powi(-ty.format.frac() - -ty.format.frac() / 2);
    let one = |rng: &mut Rng| match rng.size(0..=19) {
        0 => *rng.pick(&[
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            0.0,
            -0.0,
            f32::MIN_POSITIVE,
            1e-45,
        ]),
        1..=3 => f32::from_bits(rng.bits() as u32),
        4..=6 => rng.int(-20..=20) as f32 / 2.0,
        7..=9 => (rng.code(ty.format) as f64 * 3.0 * grid) as f32,
        _ => {
            let off = *rng.pick(&[0.0, 0.5, -0.5, 0.25, -0.75, 1.0, 0.500001]);
            ((rng.code(ty.format) as f64 + off) * grid) as f32
        }
    };
    let numbers = std::iter::repeat_with(|| one(rng)).filter(|v| !v.is_nan());
    numbers.take(n).collect()
}

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Any code of a format; of wide ones also those that a detour through double precision would round twice.
fn code(rng: &mut Rng, format: Format) -> i64 {
    let w = format.width();
    if w >= 60 && rng.chance(20) {
        let twice = (1 << (w - 4)) + (1 << (w - 28)) + 1;
        return if format.is_signed() && rng.chance(50) { -twice } else { twice };
    }
    rng.code(format) as i64
}

/// Each width, both signs, all modes, fractions within and beyond the word, axes in every order.
fn ports() -> Vec<(String, Program)> {
    let mut rng = Rng::new(2024);
    let orders: &[(&[usize], &[usize])] = &[
        (&[3], &[0]),
        (&[5], &[0]),
        (&[2, 3], &[1, 0]),
        (&[3, 1, 2], &[1, 2, 0]),
        (&[2, 3, 2, 2], &[2, 3, 1, 0]),
    ];
    let mut all = Vec::new();
    for width in 1..=64 {
        for signed in [true, false] {
            for _ in 0..3 {
                let frac = match rng.size(0..=3) {
                    0 => 0,
                    1 => rng.int(-70..=130) as i32,
                    2 => rng.int(-1000..=1000) as i32,
                    _ => rng.int(0..=width) as i32,
                };
                let width = if signed { width } else { width.min(63) } as u32;
                let format = Format::new(signed, width, width as i32 - frac).unwrap();
                let mut overflow = *rng.pick(&Overflow::ALL);
                if !signed && matches!(overflow, Overflow::WrapSm { .. }) {
                    overflow = Overflow::WRAP;
                }
                if let Overflow::Wrap { n } | Overflow::WrapSm { n } = &mut overflow {
                    *n = *rng.pick(&[0, 0, 1, 2, 3]).min(&width);
                }
                let (shape, perm) = *rng.pick(orders);
                let ty = Type::new(format, *rng.pick(&Rounding::ALL), overflow);
                all.push((ty, shape.to_vec(), perm.to_vec()));
            }
        }
    }
    let models = all.chunks(32).enumerate();
    models.map(|(k, tensors)| (format!("ports{k}"), pass_through("a \"name\"", tensors))).collect()
}

#[test]
fn rows_are_those_of_the_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let mut models = ports();
    models.extend((0..12).map(|seed| (format!("random{seed}"), random_program(seed, &Config::default()))));
    let mut rng = Rng::new(7);
    let (mut tasks, mut expected) = (Vec::new(), Vec::new());
    for (k, (name, program)) in models.iter().enumerate() {
        let rows = if name.starts_with("ports") { 40 } else { [0, 1, 3, 17][k % 4] };
        for (tensor, id) in program.inputs().into_iter().enumerate() {
            let (layout, packed) = (Layout::of(program.node(id)).unwrap(), RowLayout::of(program.node(id)));
            let n = rows * layout.row_len();
            let input = bytes(&values(&mut rng, *layout.ty(), n));
            let mut codes = vec![0; n];
            layout.encode(Values::new(Datatype::Fp32, &input), 0..rows, &mut codes).unwrap();
            expected.push(packed.pack(&codes));
            tasks.push(Task { what: "pack", model: name.clone(), tensor, rows, input });
        }
        for (tensor, id) in program.outputs().into_iter().enumerate() {
            let (layout, packed) = (Layout::of(program.node(id)).unwrap(), RowLayout::of(program.node(id)));
            let n = rows * layout.row_len();
            let codes: Vec<i64> = (0..n).map(|_| code(&mut rng, layout.ty().format)).collect();
            let mut floats = vec![0.0; n];
            layout.decode_f32(&codes, &mut floats);
            expected.push(bytes(&floats));
            let trailer = Trailer::new(rows as u32, &program.fingerprint()).to_bytes();
            let input = [packed.pack(&codes), trailer.to_vec()].concat();
            tasks.push(Task { what: "unpack", model: name.clone(), tensor, rows, input });
        }
    }
    assert!(tasks.len() > 700, "{}", tasks.len());
    for (language, driver) in drivers(dir.path(), &models, "packing rows") {
        for ((task, found), expected) in tasks.iter().zip(run(&driver, dir.path(), &tasks)).zip(&expected) {
            let Task { what, model, tensor, .. } = task;
            let (_, program) = models.iter().find(|(name, _)| name == model).unwrap();
            let ids = if *what == "pack" { program.inputs() } else { program.outputs() };
            let ty = program.node(ids[*tensor]).ty;
            assert_eq!(found.as_ref(), Ok(expected), "{language}: {what} {model} {tensor} {ty}");
        }
    }
}

#[test]
fn nan_and_wrong_lengths_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ty: Type = "fixed<12,4>".parse().unwrap();
    let models = vec![("net".to_owned(), pass_through("net", &[(ty, vec![3, 2], vec![1, 0])]))];
    let mut values = vec![0.5f32; 12];
    let task = |input: Vec<u8>| Task { what: "pack", model: "net".to_owned(), tensor: 0, rows: 2, input };
    let short = task(bytes(&values[..11]));
    values[9] = f32::NAN;
    let nan = task(bytes(&values));
    let tasks = [task(bytes(&[0.0; 12])), nan, short];
    for (language, driver) in drivers(dir.path(), &models, "refusing values") {
        let found = run(&driver, dir.path(), &tasks);
        assert_eq!(found[0].as_ref().map(Vec::len), Ok(64), "{language}");
        // Every element in hardware order is looked at, and told by its place in ONNX order.
        let message = found[1].as_ref().unwrap_err();
        assert!(message.contains("row 1, element 3 is NaN"), "{language}: {message}");
        let message = found[2].as_ref().unwrap_err();
        assert!(message.contains("11") && message.contains("12"), "{language}: {message}");
    }
}

#[test]
fn every_fault_of_a_trailer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ty: Type = "fixed<12,4>".parse().unwrap();
    let program = pass_through("net", &[(ty, vec![5], vec![0])]);
    let packed = RowLayout::of(program.node(program.outputs()[0]));
    let (rows, fingerprint) = (7, program.fingerprint());
    let good = [packed.pack(&[1; 35]), Trailer::new(rows as u32, &fingerprint).to_bytes().to_vec()].concat();
    let end = packed.bytes(rows);
    let at = |place: usize, change: u8| {
        let mut bytes = good.clone();
        bytes[end + place] ^= change;
        bytes
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![0; good.len()], "there is no trailer"),
        (at(0, 1), "there is no trailer"),
        (at(7, 0x80), "there is no trailer"),
        (at(8, 3), "the kernel has ABI version 2"),
        (at(11, 1), "the kernel has ABI version 16777217"),
        (at(12, 1), "the kernel did 6 of 7 rows"),
        (at(15, 1), "the kernel did 16777223 of 7 rows"),
        (at(16, 1), "computes another model"),
        (at(31, 1), "computes another model"),
        (good[..good.len() - 1].to_vec(), "191"),
        (Vec::new(), "192"),
    ];
    let model = vec![("net".to_owned(), program)];
    let task = |input: Vec<u8>| Task { what: "unpack", model: "net".to_owned(), tensor: 0, rows, input };
    let mut tasks = vec![task(good.clone())];
    tasks.extend(cases.iter().map(|(bytes, _)| task(bytes.clone())));
    for (language, driver) in drivers(dir.path(), &model, "checking trailers") {
        let found = run(&driver, dir.path(), &tasks);
        assert!(found[0].is_ok(), "{language}: {found:?}");
        for ((_, expected), found) in cases.iter().zip(&found[1..]) {
            let message = found.as_ref().unwrap_err();
            assert!(message.contains(expected), "{language}: {message}, not {expected}");
        }
    }
}
