//! A model at hand: compiled on the fly from an ONNX file, or read from a package.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hs_compiler::{
    diagnostic::{Diagnostic, Diagnostics},
    driver::{self, CompileOptions, Compiled, Stage},
    hls::{self, KERNEL_ROWS, KERNEL_WEIGHTS, Project},
    host,
    limits::{Limit, Limits},
    lower, onnx,
    platform::Target,
};
use hs_hw::{Program, Schedule};
use hs_package::{Arithmetic, HLS, HOST, Kernel, KernelWeights, Overwrite, Package, PackageWriter, REPORT};
use hs_runtime::Tensor;

use super::{Context, estimate::Figures, exit::Failure, options::CompileArgs, tensors};

/// A compiled model.
pub(crate) struct Model {
    /// Its name: the file's or the directory's.
    pub(crate) name: String,
    /// The bits.
    pub(crate) program: Arc<Program>,
    /// Their layout.
    pub(crate) schedule: Schedule,
    /// The ONNX file it was compiled from, just now.
    pub(crate) onnx: Option<PathBuf>,
    /// What compiling gave.
    pub(crate) compiled: Option<Compiled>,
    /// The package it was read from.
    pub(crate) package: Option<PathBuf>,
    /// What its HLS project is built for; of a package without the link.
    pub(crate) target: Target,
    /// To be told to the user.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Model {
    /// Reads a package or compiles an ONNX file.
    pub(crate) fn open(path: &Path, args: &CompileArgs, context: &Context) -> Result<Self, Failure> {
        if path.is_dir() {
            let given = args.given();
            if !given.is_empty() {
                return Err(Failure::usage(format!(
                    "{} is a package, compiled already: {} cannot be given",
                    path.display(),
                    given.join(", ")
                ))
                .help("give the model.onnx instead, or compile another package"));
            }
            return Self::read(path, context);
        }
        Self::compile(path, args, context)
    }

    /// Compiles an ONNX file.
    pub(crate) fn compile(path: &Path, args: &CompileArgs, context: &Context) -> Result<Self, Failure> {
        let calibration = if args.calibrate.is_empty() { None } else { Some(calibration(path, args)?) };
        let options = CompileOptions {
            config: args.config()?,
            arithmetic: args.arithmetic(),
            precision: args.precision.clone(),
            calibration,
            limits: args.limits.limits(),
            per_channel: args.per_channel,
            io: args.io(),
            strategy: args.strategy(),
            reuse: args.reuse(),
        };
        let step = context.step("reading the model");
        let compiled = driver::compile(path, &options, &mut |stage| {
            step.say(match stage {
                Stage::Import => "reading the model",
                Stage::Normalise => "folding constants",
                Stage::Calibrate => "running the calibration data",
                Stage::Lower => "choosing types",
                Stage::Schedule => "laying out the hardware",
            });
        })?;
        let name = path.file_stem().map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned());
        Ok(Self {
            name,
            program: Arc::new(compiled.program.clone()),
            schedule: compiled.schedule.clone(),
            onnx: Some(path.to_owned()),
            warnings: compiled.warnings.clone(),
            compiled: Some(compiled),
            package: None,
            target: Target::default(),
        })
    }

    /// Reads a package.
    fn read(dir: &Path, context: &Context) -> Result<Self, Failure> {
        let _step = context.step("reading the package");
        let package = Package::open(dir)?;
        let target = package.manifest().kernel.as_ref().map_or_else(Target::default, |k| Target {
            platform: k.platform.clone(),
            ..Target::part(&k.part, k.clock_mhz)
        });
        Ok(Self {
            name: package.manifest().model.clone(),
            program: Arc::new(package.program().clone()),
            schedule: package.schedule().clone(),
            onnx: None,
            compiled: None,
            package: Some(dir.to_owned()),
            target,
            warnings: Vec::new(),
        })
    }

    /// Writes a model that was just compiled as a package: whole or not at all.
    pub(crate) fn write(&mut self, out: &Path, replace: bool, limits: &Limits) -> Result<(), Failure> {
        let Some(onnx) = self.onnx.as_ref().filter(|_| self.compiled.is_some()) else {
            return Err(Failure::usage("only an ONNX file can be made into a package"));
        };
        let source = std::fs::read(onnx).map_err(|e| Failure::file(onnx, e))?;
        let arithmetic = match self.compiled.as_ref().map(|c| c.arithmetic).unwrap_or_default() {
            lower::Arithmetic::Native => Arithmetic::Native,
            lower::Arithmetic::Hls4ml => Arithmetic::Hls4ml,
        };
        let mut writer = PackageWriter::new(&self.program, &self.schedule, arithmetic)?.source(&source);
        let project = self.hls_project()?;
        writer = writer.kernel(kernel(&project, &self.target));
        for file in host::emit(&self.program, &project, HLS) {
            writer = writer.file(&format!("{HOST}/{}", file.path), file.bytes);
        }
        let size = project.files.iter().map(|f| f.bytes.len() as u64).sum();
        limits.check(Limit::Package, size).map_err(Diagnostics::from)?;
        for file in project.files {
            writer = writer.file(&format!("{HLS}/{}", file.path), file.bytes);
        }
        if let Ok(figures) = self.figures(self.target.clock_mhz) {
            let json = serde_json::to_string_pretty(&figures.json()).map_err(Failure::internal)?;
            writer = writer.file(&format!("{REPORT}/estimate.json"), json + "\n");
            writer = writer.file(&format!("{REPORT}/estimate.txt"), figures.text() + "\n");
        }
        writer.finish(out, if replace { Overwrite::Package } else { Overwrite::Never })?;
        self.package = Some(out.to_owned());
        Ok(())
    }

    /// What its kernel takes of an FPGA; `Err` says why none can be built.
    pub(crate) fn figures(&self, clock_mhz: u32) -> Result<Figures, String> {
        Figures::of(&self.program, &self.schedule, clock_mhz)
    }

    /// The HLS project of a model that was just compiled.
    pub(crate) fn hls_project(&self) -> Result<Project, Failure> {
        match &self.compiled {
            Some(compiled) => Ok(driver::hls_project(compiled, &self.name, &self.target)?),
            None => Err(Failure::internal("no compiled model to make a project of")),
        }
    }

    /// Where a package's HLS project lies.
    pub(crate) fn project(package: &Path) -> PathBuf {
        package.join(HLS)
    }
}

/// What the manifest says of a project's kernel.
fn kernel(project: &Project, target: &Target) -> Kernel {
    let hls::Kernel { name, inputs, outputs, weights } = project.kernel.clone();
    let bytes = project.files.iter().find(|f| f.path == KERNEL_WEIGHTS).map_or(0, |f| f.bytes.len() as u64);
    Kernel {
        name,
        inputs,
        outputs,
        rows: KERNEL_ROWS.to_owned(),
        weights: weights.map(|argument| KernelWeights {
            argument,
            path: format!("{HLS}/{KERNEL_WEIGHTS}"),
            bytes,
        }),
        part: target.part.clone(),
        platform: target.platform.clone(),
        clock_mhz: target.clock_mhz,
        compute_units: target.compute_units(),
    }
}

/// Calibration tensors in the order of the model's inputs.
fn calibration(path: &Path, args: &CompileArgs) -> Result<Vec<hs_ir::Tensor>, Failure> {
    let (graph, _) = onnx::import_within(path, &args.limits.limits())?;
    let names: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
    let tensors = tensors::load("--calibrate", &args.calibrate, &names)?;
    tensors.into_iter().map(|t| to_float(&t)).collect()
}

/// A tensor of the graph with the same numbers, as single precision.
pub(super) fn to_float(tensor: &Tensor) -> Result<hs_ir::Tensor, Failure> {
    let values = tensor.to_f64().into_iter().map(|v| v as f32).collect();
    hs_ir::Tensor::from_f32(tensor.shape().to_vec(), values).map_err(Failure::internal)
}
