//! `golden`: reference vectors of a model, written once and verified ever after.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args as ClapArgs, Subcommand};
use hs_hw::{KERNEL_ABI, Program, testing::random_inputs};
use hs_package::Port;
use hs_runtime::{Executable, Tensor, TensorInfo, codes::Layout, npz};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Context, Report, backends, check,
    exit::{Exit, Failure},
    model::Model,
    options::{CompileArgs, ModelArg},
    simulation::Simulation,
    table::{count, pairs},
    tensors,
};

/// Member of the archive that says what the others are.
const ABOUT: &str = "golden.json";
const FORMAT: &str = "hypersonic-golden";
const FORMAT_VERSION: u32 = 1;
/// Random rows where nothing is said.
const ROWS: usize = 64;
/// Rows of a file of golden vectors, at most, when they are random.
const MOST_ROWS: u32 = 1 << 20;

/// Write reference vectors of a model, or verify a model against them
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Golden vectors are an .npz: input codes and output codes as 64-bit integers ('input/NAME', 'output/NAME'), the
float inputs they came from ('value/NAME'), and 'golden.json' with fingerprint and types.
`verify` exits with 1 when one code differs, and with 3 when the vectors are those of other bits.

Examples:
  hypersonic golden write package/ --input X.npy --rows 200 -o golden.npz
  hypersonic golden write model.onnx --precision 'fixed<16,6>' --rows 500 -o golden.npz
  hypersonic golden verify package/ golden.npz --csim")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Write(WriteArgs),
    Verify(VerifyArgs),
}

/// Run the emulator and keep inputs and outputs
#[derive(Debug, ClapArgs)]
struct WriteArgs {
    #[command(flatten)]
    model: ModelArg,
    /// Rows to run, as for `emulate`; without: random codes that reach every edge of the input's type
    #[arg(long, value_name = "[NAME=]FILE")]
    input: Vec<String>,
    /// Number of random rows [default: 64], or only the first N rows of --input
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ROWS)))]
    rows: Option<u32>,
    /// Seed of random rows
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "input")]
    seed: u64,
    /// Where the vectors go, an .npz
    #[arg(short, long, value_name = "GOLDEN.npz")]
    output: PathBuf,
    #[command(flatten)]
    compile: CompileArgs,
}

/// Run a model on golden inputs and compare every code
#[derive(Debug, ClapArgs)]
struct VerifyArgs {
    #[command(flatten)]
    model: ModelArg,
    /// What `golden write` wrote
    #[arg(value_name = "GOLDEN.npz")]
    golden: PathBuf,
    /// Verify the C simulation too
    #[arg(long)]
    csim: bool,
    #[command(flatten)]
    compile: CompileArgs,
}

/// What a file of golden vectors says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct About {
    format: String,
    format_version: u32,
    producer: String,
    model: String,
    fingerprint: String,
    kernel_abi: u32,
    rows: usize,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl About {
    fn of(program: &Program, rows: usize) -> Self {
        let (inputs, outputs) = Port::of(program);
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            producer: concat!("hypersonic ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: program.name.clone(),
            fingerprint: program.fingerprint().to_string(),
            kernel_abi: KERNEL_ABI,
            rows,
            inputs,
            outputs,
        }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    match args.action {
        Action::Write(args) => write(&args, context),
        Action::Verify(args) => verify(&args, context),
    }
}

fn write(args: &WriteArgs, context: &Context) -> Result<Report, Failure> {
    let model = Model::open(&args.model.model, &args.compile, context)?;
    let emulator = backends::emulator(&model)?;
    let (floats, codes) = if args.input.is_empty() {
        (Vec::new(), random(&model.program, args.seed, args.rows.map_or(ROWS, |n| n as usize))?)
    } else {
        let mut floats = tensors::load("--input", &args.input, &tensors::names(emulator.inputs()))?;
        if let Some(n) = args.rows {
            floats = floats.iter().map(|t| t.slice_rows(0..t.rows().min(n as usize))).collect();
        }
        let codes = check::encode(&model.program, &floats)?;
        (floats, codes)
    };
    let outputs = {
        let _step = context.step("emulating");
        tensors::run(emulator.as_ref(), &codes, true)?
    };
    let rows = outputs.first().map_or(0, Tensor::rows);
    let about = About::of(&model.program, rows);
    let text = serde_json::to_vec_pretty(&about).map_err(Failure::internal)?;
    let about_tensor = Tensor::of([text.len()], text).map_err(Failure::internal)?;

    let named = |kind: &str, infos: &[TensorInfo]| -> Vec<String> {
        infos.iter().map(|i| format!("{kind}/{}", i.name)).collect()
    };
    let kinds = [
        (named("value", emulator.inputs()), &floats),
        (named("input", emulator.inputs()), &codes),
        (named("output", emulator.outputs()), &outputs),
    ];
    let tensors = kinds.iter().flat_map(|(names, all)| names.iter().map(String::as_str).zip(all.iter()));
    let members = std::iter::once((ABOUT, &about_tensor)).chain(tensors);
    let mut file = tensors::temporary(&args.output)?;
    let mut w = BufWriter::new(&mut file);
    npz::write(&mut w, members).map_err(|e| Failure::file(&args.output, e))?;
    w.flush().map_err(|e| Failure::file(&args.output, e))?;
    drop(w);
    file.persist(&args.output).map_err(|e| Failure::file(&args.output, e.error))?;

    let text = pairs(&[
        ("golden vectors", args.output.display().to_string()),
        ("rows", count(rows as u64)),
        (
            "inputs",
            if floats.is_empty() {
                format!("random codes, seed {}", args.seed)
            } else {
                args.input.join(", ")
            },
        ),
        ("fingerprint", about.fingerprint.clone()),
    ]);
    let json = json!({ "golden": args.output, "rows": rows, "fingerprint": about.fingerprint });
    Ok(Report::new(text, json).warnings(model.warnings))
}

/// Random codes in ONNX order, one tensor a model input.
fn random(program: &Program, seed: u64, rows: usize) -> Result<Vec<Tensor>, Failure> {
    let all = random_inputs(program, seed, rows);
    let mut tensors = Vec::new();
    for (index, id) in program.inputs().into_iter().enumerate() {
        let layout = layout(program, id)?;
        let codes: Vec<i64> = all.iter().flat_map(|row| row[index].iter().map(|c| *c as i64)).collect();
        let mut onnx = vec![0; codes.len()];
        layout.decode_raw(&codes, &mut onnx);
        let shape: Vec<usize> = [rows].into_iter().chain(layout.onnx_shape().iter().copied()).collect();
        tensors.push(Tensor::of(shape, onnx).map_err(Failure::internal)?);
    }
    Ok(tensors)
}

fn layout(program: &Program, id: hs_hw::ValueId) -> Result<Layout, Failure> {
    Layout::of(program.node(id)).ok_or_else(|| Failure::internal("a port that is no port"))
}

fn verify(args: &VerifyArgs, context: &Context) -> Result<Report, Failure> {
    let model = Model::open(&args.model.model, &args.compile, context)?;
    let emulator = backends::emulator(&model)?;
    let golden = Golden::read(&args.golden, &model, emulator.as_ref())?;
    let mut checks = Vec::new();
    if !golden.values.is_empty() {
        let found = check::encode(&model.program, &golden.values)?;
        checks.push(Check::between("input quantiser", emulator.inputs(), &golden.inputs, &found));
    }
    {
        let _step = context.step("emulating");
        let found = tensors::run(emulator.as_ref(), &golden.inputs, true)?;
        checks.push(Check::between("emulator", emulator.outputs(), &golden.outputs, &found));
    }
    if args.csim {
        let step = context.step("compiling the C++");
        let simulation = Simulation::new(&model, &step)?;
        step.say("simulating");
        let found = tensors::run(&simulation, &golden.inputs, true)?;
        checks.push(Check::between("C simulation", simulation.outputs(), &golden.outputs, &found));
    }
    let wrong = checks.iter().any(|c| c.mismatches > 0);
    let mut lines =
        vec![("golden vectors", args.golden.display().to_string()), ("rows", count(golden.rows as u64))];
    lines.extend(checks.iter().map(|c| (c.by, c.text())));
    let json = json!({
        "golden": args.golden,
        "rows": golden.rows,
        "fingerprint": model.program.fingerprint().to_string(),
        "checks": checks.iter().map(Check::json).collect::<Vec<_>>(),
    });
    let exit = if wrong { Exit::Mismatch } else { Exit::Ok };
    Ok(Report::new(pairs(&lines), json).warnings(model.warnings).exit(exit))
}

/// Golden vectors that belong to a model.
struct Golden {
    rows: usize,
    /// Float inputs; empty where the inputs were made as codes.
    values: Vec<Tensor>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Golden {
    fn read(path: &Path, model: &Model, executable: &dyn Executable) -> Result<Self, Failure> {
        let members = npz::load(path).map_err(Failure::input)?;
        let find = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, t)| t);
        let foreign = |what: String| {
            Failure::file(path, what).help("golden vectors are what `hypersonic golden write` wrote")
        };
        let about = find(ABOUT).and_then(|t| t.as_slice::<u8>());
        let about = about.ok_or_else(|| foreign(format!("no golden vectors: '{ABOUT}' is missing")))?;
        let about: Value = serde_json::from_slice(about).map_err(|e| foreign(format!("'{ABOUT}': {e}")))?;
        if about["format"] != json!(FORMAT) {
            return Err(foreign(format!("'{ABOUT}' is not of the format {FORMAT}")));
        }
        if about["format_version"] != json!(FORMAT_VERSION) {
            return Err(Failure::file(
                path,
                format!(
                    "format version {}, but this program reads version {FORMAT_VERSION}",
                    about["format_version"]
                ),
            )
            .help("write the vectors anew with this version, or verify with the one that wrote them"));
        }
        let about: About = serde_json::from_value(about).map_err(|e| foreign(format!("'{ABOUT}': {e}")))?;
        Self::belongs(path, &about, &model.program)?;
        let all = |kind: &str, infos: &[TensorInfo]| -> Result<Vec<Tensor>, Failure> {
            let one = |i: &TensorInfo| {
                let name = format!("{kind}/{}", i.name);
                let tensor = find(&name).ok_or_else(|| foreign(format!("'{name}' is missing")))?;
                if tensor.rows() != about.rows {
                    return Err(foreign(format!("'{name}' has {} rows, not {}", tensor.rows(), about.rows)));
                }
                Ok(tensor.clone())
            };
            infos.iter().map(one).collect()
        };
        let has_values = members.iter().any(|(n, _)| n.starts_with("value/"));
        let outputs = all("output", executable.outputs())?;
        if outputs.iter().any(|t| t.as_slice::<i64>().is_none()) {
            return Err(foreign("the outputs are no 64-bit codes".to_owned()));
        }
        Ok(Self {
            rows: about.rows,
            values: if has_values { all("value", executable.inputs())? } else { Vec::new() },
            inputs: all("input", executable.inputs())?,
            outputs,
        })
    }

    /// Vectors of other bits say nothing about these.
    fn belongs(path: &Path, about: &About, program: &Arc<Program>) -> Result<(), Failure> {
        let ours = About::of(program, about.rows);
        if about.fingerprint == ours.fingerprint {
            return Ok(());
        }
        let types = |ports: &[Port]| -> Vec<String> {
            ports.iter().map(|p| format!("{}: {}", p.name, p.ty)).collect()
        };
        let mut message = format!(
            "the vectors are of fingerprint {}, the model '{}' has {}",
            about.fingerprint, ours.model, ours.fingerprint
        );
        for (what, theirs, ours) in
            [("inputs", &about.inputs, &ours.inputs), ("outputs", &about.outputs, &ours.outputs)]
        {
            let (theirs, ours) = (types(theirs).join(", "), types(ours).join(", "));
            if theirs != ours {
                message.push_str(&format!("; {what} were {theirs} and are {ours}"));
            }
        }
        Err(Failure::file(path, message).help(
            "model, types or arithmetic have changed since; if that was meant, look at the accuracy (`hypersonic check`) \
             and write the vectors anew: `hypersonic golden write`",
        ))
    }
}

/// One execution against the vectors.
struct Check {
    by: &'static str,
    values: usize,
    mismatches: usize,
    first: Option<String>,
}

impl Check {
    fn between(by: &'static str, infos: &[TensorInfo], golden: &[Tensor], found: &[Tensor]) -> Self {
        let mut all = Self { by, values: 0, mismatches: 0, first: None };
        for ((info, g), f) in infos.iter().zip(golden).zip(found) {
            let (want, is) =
                (g.as_slice::<i64>().unwrap_or_default(), f.as_slice::<i64>().unwrap_or_default());
            // A tensor of another length or type differs everywhere.
            all.values += want.len().max(is.len());
            all.mismatches += want.len().abs_diff(is.len());
            for (i, (a, b)) in want.iter().zip(is).enumerate().filter(|(_, (a, b))| a != b) {
                all.mismatches += 1;
                let row = g.row_len().max(1);
                all.first.get_or_insert_with(|| {
                    format!("'{}', row {}, element {}: golden {a}, found {b}", info.name, i / row, i % row)
                });
            }
        }
        all
    }

    fn text(&self) -> String {
        let values = count(self.values as u64);
        match (self.mismatches, &self.first) {
            (0, _) => format!("{values} codes, all equal"),
            (n, Some(first)) => format!("{} of {values} codes differ; the first: {first}", count(n as u64)),
            (n, None) => format!("{} of {values} codes differ", count(n as u64)),
        }
    }

    fn json(&self) -> Value {
        json!({ "by": self.by, "values": self.values, "mismatches": self.mismatches, "first": self.first })
    }
}
