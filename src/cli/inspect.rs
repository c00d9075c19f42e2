//! `inspect`: what a model became.

use clap::Args as ClapArgs;
use hs_emulator::{NodePlan, Options, Plan};
use hs_package::{Cycles, Evidence, Package, StepEvidence};
use hs_hw::{Act, Io, LayerSchedule, Node, Op, Strategy};
use serde_json::{Value, json};

use super::{
    Context, Report, backends,
    exit::Failure,
    model::Model,
    options::{CompileArgs, Isa, ModelArg},
    table::{count, pairs, table},
};

/// Show layers, shapes, types, work and plan of a model, and what it takes of an FPGA
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  hypersonic inspect model.onnx
  hypersonic inspect model.onnx --precision 'fixed<12,4>' --io stream
  hypersonic inspect package/ --json
  hypersonic inspect package/ --plan --isa avx2")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Show how the emulator runs each layer: kernel, widths, and why
    #[arg(long)]
    plan: bool,
    /// Instructions that the emulator has [default: the best that this machine has]
    #[arg(long, requires = "plan")]
    isa: Option<Isa>,
    #[command(flatten)]
    compile: CompileArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let model = Model::open(&args.model.model, &args.compile, context)?;
    let program = &model.program;
    let options = Options { isa: args.isa.map(Into::into), ..Options::default() };
    let emulator = backends::emulator_with(&model, &options)?;
    let plan = if args.plan { emulator.measured_plan().map_err(Failure::input)? } else { emulator.plan() };
    if args.plan {
        return Ok(emulation(&model, &plan).warnings(model.warnings));
    }
    let emulator = on(&plan);
    let layouts = model.schedule.layers.iter();
    let layers: Vec<Layer> = program
        .nodes
        .iter()
        .zip(plan.nodes)
        .zip(layouts)
        .map(|((node, plan), layout)| Layer::new(node, plan, layout))
        .collect();
    let parameters: u64 = layers.iter().map(|l| l.parameters).sum();

    let target = &model.target;
    let head = pairs(&[
        ("model", model.name.clone()),
        ("fingerprint", program.fingerprint().to_string()),
        ("io", io_name(model.schedule.io).to_owned()),
        ("platform", target.platform.clone().unwrap_or_else(|| format!("none, part {}", target.part))),
        ("parameters", count(parameters)),
        ("MACs a row", count(plan.macs)),
        ("emulator", emulator),
    ]);
    let rows: Vec<_> = layers.iter().map(Layer::cells).collect();
    let heading = ["layer", "op", "shape", "type", "parameters", "MACs", "layout", "emulator"];
    let (estimate, figures) = match model.figures(model.target.clock_mhz) {
        Ok(figures) => (figures.text(), figures.json()),
        Err(why) => (format!("no estimate: {why}"), Value::Null),
    };
    let evidence = match &model.package {
        Some(dir) => Package::open(dir)?.evidence()?,
        None => None,
    };
    let mut text = format!("{head}\n\n{}\n\n{estimate}", table(&heading, &rows));
    if let Some(evidence) = &evidence {
        text = format!("{text}\n\n{}", reported(evidence));
    }
    let json = json!({
        "model": model.name,
        "fingerprint": program.fingerprint().to_string(),
        "io": model.schedule.io,
        "platform": target.platform,
        "part": target.part,
        "parameters": parameters,
        "macs": plan.macs,
        "layers": layers.iter().map(Layer::json).collect::<Vec<_>>(),
        "estimate": figures,
        "evidence": evidence,
    });
    Ok(Report::new(text, json).warnings(model.warnings))
}

/// How the emulator runs the model, a line a layer.
fn emulation(model: &Model, plan: &Plan) -> Report {
    let json = json!({ "model": model.name, "fingerprint": model.program.fingerprint().to_string(), "plan": plan });
    // As the plan names and spells it: a figure that plans do not have is a column that is not there.
    let predicted: Vec<Option<f64>> = json["plan"]["nodes"]
        .as_array()
        .map_or(Vec::new(), |nodes| nodes.iter().map(|n| n["gmacs"].as_f64()).collect());
    let predicts = predicted.iter().any(Option::is_some);
    let head = pairs(&[
        ("model", model.name.clone()),
        ("fingerprint", model.program.fingerprint().to_string()),
        ("MACs a row", count(plan.macs)),
        ("emulator", on(plan)),
        ("a block's tensors", format!("{} KiB", plan.block_bytes.div_ceil(1024))),
    ]);
    let mut heading = vec!["layer", "op", "kernel", "operands", "computes", "stores", "MACs"];
    heading.extend(predicts.then_some("GMAC/s"));
    heading.push("why");
    let row = |(n, gmacs): (&NodePlan, &Option<f64>)| {
        let operands: Vec<String> = n.operand_bits.iter().map(ToString::to_string).collect();
        let mut cells = vec![
            n.node.escape_debug().to_string(),
            n.op.to_owned(),
            n.kernel.clone(),
            operands.join(" x "),
            n.computes.map_or(String::new(), |w| w.to_string()),
            n.stores.to_string(),
            if n.macs == 0 { String::new() } else { count(n.macs) },
        ];
        cells.extend(predicts.then(|| gmacs.map_or(String::new(), |g| format!("{g:.1}"))));
        cells.push(n.why.clone());
        cells
    };
    let rows: Vec<_> = plan.nodes.iter().zip(&predicted).map(row).collect();
    Report::new(format!("{head}\n\n{}", table(&heading, &rows)), json)
}

/// What the emulator runs on.
fn on(plan: &Plan) -> String {
    format!("{} threads, {}, blocks of {} rows", plan.threads, format!("{:?}", plan.isa).to_lowercase(), plan.block)
}

/// What the vendor's tools said, a line a step.
fn reported(evidence: &Evidence) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), count);
    let row = |step: &StepEvidence| {
        let r = &step.figures.resources;
        let tools = step.tools.iter().map(|t| format!("{} {}", t.name, t.version)).collect::<Vec<_>>();
        let cycles = |c: Option<Cycles>| c.map_or_else(|| "-".to_owned(), |c| format!("{}-{}", c.min, c.max));
        let mut cells = vec![step.step.name().to_owned()];
        cells.extend([r.lut, r.ff, r.dsp, r.bram18, r.uram].map(number));
        cells.push(cycles(step.figures.latency_cycles));
        cells.push(step.figures.kernel_clock_mhz.map_or_else(|| "-".to_owned(), |mhz| mhz.to_string()));
        cells.push(step.date.escape_debug().to_string());
        cells.push(tools.join(", ").escape_debug().to_string());
        cells
    };
    let rows: Vec<Vec<String>> = evidence.steps.iter().map(row).collect();
    let heading = ["reported", "LUT", "FF", "DSP", "BRAM18", "URAM", "cycles", "MHz", "date", "tools"];
    format!(
        "evidence.json, what the vendor's tools reported (csynth: of one compute unit; hw_emu, hw: of all):\n{}",
        table(&heading, &rows)
    )
}

fn io_name(io: Io) -> &'static str {
    match io {
        Io::Parallel => "parallel",
        Io::Stream => "stream",
    }
}

struct Layer {
    name: String,
    shape: Vec<usize>,
    ty: String,
    parameters: u64,
    /// Empty for layers without multiplications to share.
    layout: String,
    plan: NodePlan,
}

impl Layer {
    fn new(node: &Node, plan: NodePlan, layout: &LayerSchedule) -> Self {
        let layout = match layout.strategy {
            _ if !matches!(node.op, Op::Dot(_)) => String::new(),
            Strategy::Latency => "latency".to_owned(),
            Strategy::Resource => format!("resource, reuse {}", layout.reuse),
        };
        Self {
            name: node.name.escape_debug().to_string(),
            shape: node.shape.clone(),
            ty: node.ty.to_string(),
            parameters: parameters(node),
            layout,
            plan,
        }
    }

    fn cells(&self) -> Vec<String> {
        let number = |n: u64| if n == 0 { String::new() } else { count(n) };
        let shape = self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        vec![
            self.name.clone(),
            self.plan.op.to_owned(),
            shape,
            self.ty.clone(),
            number(self.parameters),
            number(self.plan.macs),
            self.layout.clone(),
            self.plan.kernel.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "op": self.plan.op,
            "shape": self.shape,
            "type": self.ty,
            "parameters": self.parameters,
            "macs": self.plan.macs,
            "layout": self.layout,
            "emulator": self.plan,
        })
    }
}

/// Constants of the model that the node holds; tables do not count.
fn parameters(node: &Node) -> u64 {
    let slope = |act: &Act| match act {
        Act::Slope(codes) => codes.len(),
        Act::None | Act::Clamp { .. } => 0,
    };
    let n = match &node.op {
        Op::Dot(d) => d.weight.len() + d.bias.as_ref().map_or(0, hs_hw::Codes::len) + slope(&d.act),
        Op::Affine { scale, bias, act } => scale.len() + bias.len() + slope(act),
        Op::Requant(act) | Op::Binary { act, .. } => slope(act),
        Op::Const(codes) => codes.len(),
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => 0,
    };
    n as u64
}
