//! `check`: emulator against C simulation, bit for bit, and fixed point against float.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use hs_hw::Program;
use hs_runtime::{Data, Executable, Tensor, codes::Layout, npy};
use serde_json::{Value, json};

use super::{
    Context, Report, backends,
    exit::{Exit, Failure},
    model::Model,
    options::{CompileArgs, InputArgs, ModelArg},
    simulation::Simulation,
    table::{count, pairs},
    tensors,
};

/// Compile, emulate and simulate a model, compare the bits, and measure it against float and labels
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Exits with 1 when one bit differs, or when --tolerance or --max-loss is exceeded.

Examples:
  hypersonic check model.onnx --input X.npy --labels L.npy
  hypersonic check model.onnx --input X.npy --precision 'fixed<12,4>' --labels L.npy --max-loss 0.5
  hypersonic check package/ --float model.onnx --input X.npy --rows 100")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    input: InputArgs,
    /// Class of each row, an integer .npy; needs a model whose first output has a value a class
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rows: Option<u32>,
    /// Keep the package in DIR, which must not be there yet
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace DIR if it is a package
    #[arg(long, requires = "output")]
    force: bool,
    /// The ONNX file that a package was compiled from, for the comparison with float
    #[arg(long, value_name = "MODEL")]
    float: Option<PathBuf>,
    /// Leave out the C simulation
    #[arg(long)]
    no_csim: bool,
    /// Fail if any output differs by more than X from float
    #[arg(long, value_name = "X")]
    tolerance: Option<f64>,
    /// Fail if the accuracy is more than X percentage points below float's
    #[arg(long, value_name = "X", requires = "labels")]
    max_loss: Option<f64>,
    #[command(flatten)]
    compile: CompileArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let mut model = Model::open(&args.model.model, &args.compile, context)?;
    if let Some(dir) = &args.output {
        model.write(dir, args.force, &args.compile.limits.limits())?;
    }
    if args.float.is_some() {
        model.onnx = args.float.clone();
    }
    let emulator = backends::emulator(&model)?;
    let mut inputs = tensors::load("--input", &args.input.input, &tensors::names(emulator.inputs()))?;
    let all = inputs.first().map_or(0, Tensor::rows);
    let labels = args.labels.as_deref().map(|p| read_labels(p, all)).transpose()?;
    if let Some(n) = args.rows {
        inputs = inputs.iter().map(|t| t.slice_rows(0..t.rows().min(n as usize))).collect();
    }
    let rows = inputs.first().map_or(0, Tensor::rows);

    let codes = encode(&model.program, &inputs)?;
    let fixed = {
        let _step = context.step("emulating");
        tensors::run(emulator.as_ref(), &codes, true)?
    };
    let simulated = if args.no_csim {
        None
    } else {
        let step = context.step("compiling the C++");
        let simulation = Simulation::new(&model, &step)?;
        step.say("simulating");
        Some(tensors::run(&simulation, &codes, true)?)
    };
    let difference = simulated.as_ref().map(|s| Difference::between(emulator.as_ref(), &fixed, s));

    let values = decode(&model.program, &fixed);
    let float = {
        let _step = context.step("running the float model");
        backends::float(&model, &inputs)?
    };
    let found = Found {
        rows,
        fixed_accuracy: labels.as_ref().map(|l| accuracy(&values[0], rows, l)).transpose()?,
        float_accuracy: match (&labels, &float) {
            (Some(l), Some(f)) => Some(accuracy(&f.outputs[0], rows, l)?),
            _ => None,
        },
        same_class: float.as_ref().and_then(|f| agreement(&values[0], &f.outputs[0], rows)),
        error: float.as_ref().map(|f| largest_error(&values, &f.outputs)),
        float_by: float.map(|f| f.by),
        difference,
    };
    let failures = found.failures(args.tolerance, args.max_loss);
    let exit = if failures.is_empty() { Exit::Ok } else { Exit::Mismatch };
    let project = model.package.as_deref().map(Model::project);
    let mut text = found.text(&model.name, project.as_deref());
    for failure in &failures {
        text.push_str("\nFAILED: ");
        text.push_str(failure);
    }
    let mut json = found.json();
    json["model"] = model.name.into();
    json["fingerprint"] = model.program.fingerprint().to_string().into();
    json["hls_project"] = json!(project);
    json["failures"] = json!(failures);
    Ok(Report::new(text, json).warnings(model.warnings).exit(exit))
}

/// How many codes differ, and the first that does.
struct Difference {
    values: usize,
    mismatches: usize,
    first: Option<String>,
}

impl Difference {
    fn between(model: &dyn Executable, emulated: &[Tensor], simulated: &[Tensor]) -> Self {
        let mut all = Self { values: 0, mismatches: 0, first: None };
        for ((info, e), s) in model.outputs().iter().zip(emulated).zip(simulated) {
            let (e_codes, s_codes) = (integers(e), integers(s));
            all.values += e_codes.len();
            for (i, (a, b)) in e_codes.iter().zip(s_codes.iter()).enumerate().filter(|(_, (a, b))| a != b) {
                all.mismatches += 1;
                let row = e.row_len().max(1);
                all.first.get_or_insert_with(|| {
                    format!("output '{}', row {}, element {}: emulator {a}, C++ {b}", info.name, i / row, i % row)
                });
            }
        }
        all
    }
}

/// What a check finds; accuracies and agreement are fractions.
struct Found {
    rows: usize,
    difference: Option<Difference>,
    float_by: Option<String>,
    float_accuracy: Option<f64>,
    fixed_accuracy: Option<f64>,
    same_class: Option<f64>,
    error: Option<f64>,
}

impl Found {
    fn failures(&self, tolerance: Option<f64>, max_loss: Option<f64>) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(Difference { mismatches: n @ 1.., first: Some(first), .. }) = &self.difference {
            failures.push(format!("{n} codes differ between emulator and C++; the first: {first}"));
        }
        if let Some(limit) = tolerance {
            match self.error {
                Some(error) if error <= limit => {}
                Some(error) => failures.push(format!("the largest error {error:.3e} exceeds {limit:.3e}")),
                None => failures.push("--tolerance needs the float model: give --float MODEL".to_owned()),
            }
        }
        if let Some(limit) = max_loss {
            match (self.float_accuracy, self.fixed_accuracy) {
                (Some(float), Some(fixed)) if 100.0 * (float - fixed) <= limit => {}
                (Some(float), Some(fixed)) => failures.push(format!(
                    "accuracy falls by {:.2} percentage points, more than {limit}",
                    100.0 * (float - fixed)
                )),
                _ => failures.push("--max-loss needs the float model: give --float MODEL".to_owned()),
            }
        }
        failures
    }

    fn text(&self, name: &str, project: Option<&std::path::Path>) -> String {
        let percent = |f: Option<f64>| f.map_or_else(|| "-".to_owned(), |f| format!("{:.2} %", 100.0 * f));
        let compared = match &self.difference {
            Some(d) => format!("{} of {} values", count(d.mismatches as u64), count(d.values as u64)),
            None => "not simulated".to_owned(),
        };
        let mut lines = vec![
            ("model", name.to_owned()),
            ("float by", self.float_by.clone().unwrap_or_else(|| "- (give --float MODEL)".to_owned())),
            ("float accuracy", percent(self.float_accuracy)),
            ("fixed accuracy", percent(self.fixed_accuracy)),
            ("same class as float", percent(self.same_class)),
            ("largest error", self.error.map_or_else(|| "-".to_owned(), |e| format!("{e:.3e}"))),
            ("rows compared", count(self.rows as u64)),
            ("mismatches emulator/C++", compared),
        ];
        if let Some(project) = project {
            lines.push(("HLS project", project.display().to_string()));
        }
        pairs(&lines)
    }

    fn json(&self) -> Value {
        json!({
            "rows": self.rows,
            "csim": self.difference.as_ref().map(|d| json!({
                "values": d.values, "mismatches": d.mismatches, "first": d.first,
            })),
            "float": {
                "by": self.float_by,
                "accuracy": self.float_accuracy,
                "same_class": self.same_class,
                "largest_error": self.error,
            },
            "accuracy": self.fixed_accuracy,
        })
    }
}

/// The codes that the model's inputs become, in ONNX order.
pub(super) fn encode(program: &Program, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let nodes = program.inputs();
    if nodes.len() != inputs.len() {
        return Err(Failure::internal("the emulator's inputs are not the program's"));
    }
    let mut all = Vec::new();
    for (id, tensor) in nodes.into_iter().zip(inputs) {
        let layout =
            Layout::of(program.node(id)).ok_or_else(|| Failure::internal("an input that is no input"))?;
        let rows = layout.rows(tensor)?;
        let mut hardware = vec![0; rows * layout.row_len()];
        layout.encode(tensor, 0..rows, &mut hardware)?;
        let mut codes = vec![0; hardware.len()];
        layout.decode_raw(&hardware, &mut codes);
        all.push(Tensor::of(tensor.shape(), codes).map_err(Failure::internal)?);
    }
    Ok(all)
}

/// Values of the outputs' codes; exact to 53 bits.
fn decode(program: &Program, outputs: &[Tensor]) -> Vec<Vec<f64>> {
    let formats = program.outputs().into_iter().map(|id| program.node(id).format());
    let values = |t: &Tensor, f: hs_fixed::Format| integers(t).iter().map(|c| f.value(i128::from(*c))).collect();
    outputs.iter().zip(formats).map(|(t, f)| values(t, f)).collect()
}

/// Results of `run_raw` are 64-bit integers.
fn integers(tensor: &Tensor) -> &[i64] {
    if let Data::I64(v) = tensor.data() { v } else { &[] }
}

fn read_labels(path: &std::path::Path, rows: usize) -> Result<Vec<usize>, Failure> {
    let tensor = npy::load(path).map_err(Failure::input)?;
    let values = tensor.to_f64();
    if values.len() != rows {
        return Err(Failure::file(path, format!("{} labels for {rows} rows", values.len())));
    }
    let class = |v: &f64| if v.fract() == 0.0 && (0.0..1e9).contains(v) { Some(*v as usize) } else { None };
    let classes = values.iter().map(class).collect::<Option<Vec<_>>>();
    classes.ok_or_else(|| Failure::file(path, "a label is no class: labels are integers from 0"))
}

/// Index of the largest value, the first of several.
fn argmax(row: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best
}

fn classes(values: &[f64], rows: usize) -> Option<Vec<usize>> {
    let n = values.len().checked_div(rows)?;
    (n >= 2).then(|| values.chunks_exact(n).map(argmax).collect())
}

fn accuracy(values: &[f64], rows: usize, labels: &[usize]) -> Result<f64, Failure> {
    let Some(classes) = classes(values, rows) else {
        return Err(Failure::usage("--labels needs a model whose first output has a value a class"));
    };
    let right = classes.iter().zip(labels).filter(|(a, b)| a == b).count();
    Ok(right as f64 / rows as f64)
}

fn agreement(fixed: &[f64], float: &[f64], rows: usize) -> Option<f64> {
    let (a, b) = (classes(fixed, rows)?, classes(float, rows)?);
    Some(a.iter().zip(b).filter(|(a, b)| **a == *b).count() as f64 / rows as f64)
}

fn largest_error(fixed: &[Vec<f64>], float: &[Vec<f64>]) -> f64 {
    let pairs = fixed.iter().flatten().zip(float.iter().flatten());
    // NaN and infinities of the float model are as far off as can be.
    let distance = |a: f64, b: f64| if b.is_finite() { (a - b).abs() } else { f64::INFINITY };
    pairs.map(|(a, b)| distance(*a, *b)).fold(0.0, f64::max)
}
