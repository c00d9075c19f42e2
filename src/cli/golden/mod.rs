//! `golden`: reference vectors of a model, written once and verified ever after.

mod served;

use std::{
    fmt::Display,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::{Args as ClapArgs, Subcommand};
use hs_client::Url;
use hs_hw::{Program, testing::random_inputs};
use hs_runtime::{
    Executable, Tensor, TensorInfo,
    codes::Layout,
    golden::{About, Golden, GoldenError},
};
use serde_json::{Value, json};

use super::{
    Context, Report, backends, check,
    exit::{Exit, Failure},
    model::Model,
    options::{CompileArgs, ModelArg},
    remote::{Access, ServerArgs},
    simulation::Simulation,
    table::{count, pairs},
    tensors,
};

/// Random rows where nothing is said.
const ROWS: usize = 64;
/// Rows of a file of golden vectors, at most, when they are random.
const MOST_ROWS: u32 = 1 << 20;

/// Write reference vectors of a model, or verify a model or a server against them
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Golden vectors are an .npz: input codes and output codes as 64-bit integers ('input/NAME', 'output/NAME'), the
float inputs they came from ('value/NAME'), and 'golden.json' with fingerprint and types.
`verify` exits with 1 when one code differs, and with 3 when the vectors are those of other bits. With --url it
verifies what a server of the Triton / KServe v2 protocol answers: its values, where a code is exact in their type, and
the codes of the model NAME_raw, where that is served.

Examples:
  hypersonic golden write package/ --input X.npy --rows 200 -o golden.npz
  hypersonic golden write model.onnx --precision 'fixed<16,6>' --rows 500 -o golden.npz
  hypersonic golden verify package/ golden.npz --csim
  hypersonic golden verify --url grpc://localhost --model jets golden.npz")]
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

/// Run a model, here or on a server, on golden inputs and compare every code
#[derive(Debug, ClapArgs)]
#[command(allow_missing_positional = true)]
struct VerifyArgs {
    /// A model.onnx, or a package that `compile` wrote
    #[arg(value_name = "MODEL|PACKAGE", required_unless_present = "url", conflicts_with = "url")]
    path: Option<PathBuf>,
    /// What `golden write` wrote
    #[arg(value_name = "GOLDEN.npz")]
    golden: PathBuf,
    /// Verify the C simulation too
    #[arg(long, conflicts_with = "url")]
    csim: bool,
    #[command(flatten)]
    compile: CompileArgs,
    /// Verify a server: http://HOST:PORT or grpc://HOST:PORT; https and grpcs in TLS
    #[arg(long, value_name = "URL", value_parser = Url::parse, requires = "model", help_heading = "Server")]
    url: Option<Url>,
    /// Name of the model that it serves
    #[arg(long, value_name = "NAME", requires = "url", help_heading = "Server")]
    model: Option<String>,
    /// Version of that model [default: the server's choice]
    #[arg(long, value_name = "VERSION", requires = "url", help_heading = "Server")]
    version: Option<String>,
    #[command(flatten)]
    access: Access,
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
    let golden = {
        let _step = context.step("emulating");
        of(&model, floats, codes)?
    };
    let rows = golden.about.rows;
    let mut file = tensors::temporary(&args.output)?;
    let mut w = BufWriter::new(&mut file);
    golden.write(&mut w).map_err(|e| Failure::file(&args.output, e))?;
    w.flush().map_err(|e| Failure::file(&args.output, e))?;
    drop(w);
    file.persist(&args.output).map_err(|e| Failure::file(&args.output, e.error))?;

    let text = pairs(&[
        ("golden vectors", args.output.display().to_string()),
        ("rows", count(rows as u64)),
        (
            "inputs",
            if golden.values.is_empty() {
                format!("random codes, seed {}", args.seed)
            } else {
                args.input.join(", ")
            },
        ),
        ("fingerprint", golden.about.fingerprint.to_string()),
    ]);
    let json = json!({ "golden": args.output, "rows": rows, "fingerprint": golden.about.fingerprint });
    Ok(Report::new(text, json).warnings(model.warnings))
}

/// Reads what `golden write` wrote.
pub(super) fn open(path: &Path) -> Result<Golden, Failure> {
    Golden::load(path).map_err(|e| refused(path, &e.source))
}

/// Why golden vectors are not used, with advice.
pub(super) fn refused(path: &Path, error: &GoldenError) -> Failure {
    let failure = Failure::file(path, error);
    match error {
        GoldenError::Npz(_) => failure,
        GoldenError::Foreign(_) => failure.help("golden vectors are what `hypersonic golden write` wrote"),
        GoldenError::Version(_) => {
            failure.help("write the vectors anew with this version, or verify with the one that wrote them")
        }
        GoldenError::Bits(_) => failure.help(
            "model, types or arithmetic have changed since; if that was meant, look at the accuracy (`hypersonic check`) \
             and write the vectors anew: `hypersonic golden write`",
        ),
    }
}

/// Golden vectors of random rows.
pub(super) fn of_random(model: &Model, seed: u64, rows: usize) -> Result<Golden, Failure> {
    of(model, Vec::new(), random(&model.program, seed, rows)?)
}

/// What the emulator makes of codes; `values` are the floats that they came from.
fn of(model: &Model, values: Vec<Tensor>, codes: Vec<Tensor>) -> Result<Golden, Failure> {
    let outputs = tensors::run(backends::emulator(model)?.as_ref(), &codes, true)?;
    let rows = outputs.first().map_or(0, Tensor::rows);
    Ok(Golden { about: About::of(&model.program, rows), values, inputs: codes, outputs })
}

/// Random codes in ONNX order, one tensor a model input.
pub(super) fn random(program: &Program, seed: u64, rows: usize) -> Result<Vec<Tensor>, Failure> {
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
    match (&args.path, &args.url, &args.model) {
        (Some(path), None, _) => verify_here(args, path, context),
        (None, Some(url), Some(model)) => {
            let server = ServerArgs {
                model: model.clone(),
                version: args.version.clone(),
                access: args.access.clone(),
            };
            verify_served(args, url, &server, context)
        }
        _ => Err(Failure::usage("give either a model or --url and --model")),
    }
}

/// Emulator and C simulation.
fn verify_here(args: &VerifyArgs, path: &Path, context: &Context) -> Result<Report, Failure> {
    if args.access != Access::default() {
        return Err(Failure::usage("--ca, --cert, --key, --token-file and --timeout are for --url"));
    }
    let model = Model::open(path, &args.compile, context)?;
    let emulator = backends::emulator(&model)?;
    let golden = open(&args.golden)?;
    golden.check_program(&model.program).map_err(|e| refused(&args.golden, &e))?;
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
    Ok(report(args, &golden, &checks, json!({})).warnings(model.warnings))
}

/// What a server answers.
fn verify_served(args: &VerifyArgs, url: &Url, server: &ServerArgs, context: &Context) -> Result<Report, Failure> {
    let given = args.compile.given();
    if !given.is_empty() {
        return Err(Failure::usage(format!(
            "{} cannot be given with --url: a server compiles as its repository says",
            given.join(", ")
        )));
    }
    let golden = open(&args.golden)?;
    let (checks, warnings) = served::verify(&golden, url, server, context)?;
    let about = json!({ "url": url.to_string(), "model": server.model });
    Ok(report(args, &golden, &checks, about).warnings(warnings))
}

fn report(args: &VerifyArgs, golden: &Golden, checks: &[Check], about: Value) -> Report {
    let rows = golden.about.rows;
    let mut lines = vec![("golden vectors", args.golden.display().to_string()), ("rows", count(rows as u64))];
    lines.extend(checks.iter().map(|c| (c.by, c.text())));
    let mut json = json!({
        "golden": args.golden,
        "rows": rows,
        "fingerprint": golden.about.fingerprint,
        "checks": checks.iter().map(Check::json).collect::<Vec<_>>(),
    });
    if let (Value::Object(all), Value::Object(about)) = (&mut json, about) {
        all.extend(about);
    }
    let exit = if checks.iter().any(|c| c.mismatches > 0) { Exit::Mismatch } else { Exit::Ok };
    Report::new(pairs(&lines), json).exit(exit)
}

/// One execution against the vectors.
pub(super) struct Check {
    by: &'static str,
    values: usize,
    pub(super) mismatches: usize,
    first: Option<String>,
}

impl Check {
    pub(super) fn between(by: &'static str, infos: &[TensorInfo], golden: &[Tensor], found: &[Tensor]) -> Self {
        let names: Vec<&str> = infos.iter().map(|i| i.name.as_str()).collect();
        Self::new(by, &names, golden, found)
    }

    /// Codes or values of tensors of these names.
    fn new(by: &'static str, names: &[&str], golden: &[Tensor], found: &[Tensor]) -> Self {
        let mut all = Self { by, values: 0, mismatches: 0, first: None };
        for ((name, g), f) in names.iter().zip(golden).zip(found) {
            match (g.as_slice::<i64>(), f.as_slice::<i64>()) {
                (None, None) => all.compare(name, g.row_len(), &g.to_f64(), &f.to_f64()),
                (g_codes, f_codes) => {
                    // A tensor of another type differs everywhere.
                    let (want, is) = (g_codes.unwrap_or_default(), f_codes.unwrap_or_default());
                    all.compare(name, g.row_len(), want, is);
                }
            }
        }
        all
    }

    /// Compares tensors of `row` elements a row.
    fn compare<T: PartialEq + Display>(&mut self, name: &str, row: usize, want: &[T], is: &[T]) {
        // A tensor of another length differs in what is missing.
        self.values += want.len().max(is.len());
        self.mismatches += want.len().abs_diff(is.len());
        let row = row.max(1);
        for (i, (a, b)) in want.iter().zip(is).enumerate().filter(|(_, (a, b))| a != b) {
            self.mismatches += 1;
            self.first.get_or_insert_with(|| {
                format!("'{name}', row {}, element {}: golden {a}, found {b}", i / row, i % row)
            });
        }
    }

    pub(super) fn text(&self) -> String {
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
