//! Programs: packages, and ONNX files compiled on loading.

use std::{path::Path, sync::Arc};

use hs_compiler::{driver, lower};
use hs_hw::Program;
use hs_package::{Arithmetic, Package};
use hs_runtime::{Availability, LoadError, Model, codes::Layout};
use hs_serve::{LoadRequest, LoadedModel, Runner};

use super::{Loader, devices, failed, options, raw::Codes, runner, settings};

/// Name of backend and platform in configuration and metadata.
const NAME: &str = "hypersonic";

/// Reads the package in `path`.
pub(super) fn open(loader: &Loader, request: &LoadRequest<'_>, path: &Path) -> Result<LoadedModel, String> {
    let package = Package::open(path).map_err(|e| failed(request, e))?;
    let unused = options::COMPILING.iter().filter(|key| request.config.parameters.contains_key(**key));
    for key in unused {
        tracing::warn!(
            model = request.name,
            "parameters: {key} has no effect: the package is compiled already"
        );
    }
    let arithmetic = package.manifest().arithmetic;
    load(loader, request, Arc::new(package.program().clone()), arithmetic, Some(path))
}

/// Compiles the ONNX file at `path`.
pub(super) fn compile(
    loader: &Loader,
    request: &LoadRequest<'_>,
    path: &Path,
) -> Result<LoadedModel, String> {
    let options = options::compile(request, path).map_err(|why| failed(request, why))?;
    let compiled = driver::compile(path, &options, &mut |_| {}).map_err(|e| failed(request, e))?;
    for warning in &compiled.warnings {
        tracing::warn!(model = request.name, "{warning}");
    }
    let arithmetic = match compiled.arithmetic {
        lower::Arithmetic::Native => Arithmetic::Native,
        lower::Arithmetic::Hls4ml => Arithmetic::Hls4ml,
    };
    load(loader, request, Arc::new(compiled.program), arithmetic, None)
}

fn load(
    loader: &Loader,
    request: &LoadRequest<'_>,
    program: Arc<Program>,
    arithmetic: Arithmetic,
    package: Option<&Path>,
) -> Result<LoadedModel, String> {
    let runners = runners(loader, request, &program, package)?;
    let mut parameters = vec![
        ("fingerprint".to_owned(), program.fingerprint().to_string()),
        (
            "arithmetic".to_owned(),
            match arithmetic {
                Arithmetic::Native => "native".to_owned(),
                Arithmetic::Hls4ml => "hls4ml".to_owned(),
            },
        ),
    ];
    let side = |ids: Vec<hs_hw::ValueId>| -> Vec<Layout> {
        ids.iter().filter_map(|id| Layout::of(program.node(*id))).collect()
    };
    let (inputs, outputs) = (side(program.inputs()), side(program.outputs()));
    for (what, ports) in [("input", &inputs), ("output", &outputs)] {
        parameters.extend(ports.iter().map(|p| (format!("{what}.{}.type", p.tensor()), p.ty().to_string())));
    }
    let raw = runners.iter().map(|r| Runner {
        executable: Arc::new(Codes::new(Arc::clone(&r.executable), &inputs, &outputs)),
        ..r.clone()
    });
    let model = |runners: Vec<Runner>, raw| LoadedModel {
        runners,
        platform: NAME.to_owned(),
        backend: NAME.to_owned(),
        batched: true,
        parameters: parameters.clone(),
        raw,
    };
    let raw = model(raw.collect(), None);
    Ok(model(runners, Some(Box::new(raw))))
}

/// The executables of the backends that the configuration names, in its order. Those that cannot run here are left
/// out, as long as one is left.
fn runners(
    loader: &Loader,
    request: &LoadRequest<'_>,
    program: &Arc<Program>,
    package: Option<&Path>,
) -> Result<Vec<Runner>, String> {
    let mut options = settings(request.config);
    devices::list(request.config, &mut options);
    let names: Vec<&str> = options.get("backends").map_or_else(
        || vec!["emulator"],
        |list| list.split(',').map(str::trim).filter(|n| !n.is_empty()).collect(),
    );
    let (mut runners, mut reasons) = (Vec::<Runner>::new(), Vec::new());
    for name in &names {
        let Some(backend) = loader.registry.get(name) else {
            let known: Vec<&str> = loader.registry.iter().map(|b| b.name()).collect();
            let nearest =
                options::nearest(name, &known).map_or(String::new(), |n| format!("did you mean {n}? "));
            return Err(failed(
                request,
                format!("parameters: backends names '{name}'; {nearest}there are {}", known.join(", ")),
            ));
        };
        if runners.iter().any(|r| *r.backend == **name) {
            continue;
        }
        if let Availability::NotAvailable(why) = backend.availability() {
            tracing::warn!(model = request.name, "backend '{name}' is left out: {why}");
            reasons.push(format!("{name}: {why}"));
            continue;
        }
        let model = Model {
            name: request.name.to_owned(),
            program: Some(Arc::clone(program)),
            package: package.map(Path::to_owned),
            device: devices::places(request.config)[0].device,
            options: options.clone(),
            ..Model::default()
        };
        match backend.load(&model) {
            Ok(executable) => {
                let cards: Vec<String> = executable.cards().into_iter().map(|c| c.card).collect();
                let on =
                    if cards.is_empty() { "cpu".to_owned() } else { format!("card {}", cards.join(", ")) };
                runners.push(runner(name, on, executable));
            }
            Err(LoadError::NotAvailable { why, .. }) => {
                tracing::warn!(model = request.name, "backend '{name}' is left out: {why}");
                reasons.push(format!("{name}: {why}"));
            }
            Err(error) => return Err(failed(request, error)),
        }
    }
    if runners.is_empty() {
        let why = if reasons.is_empty() {
            "parameters: backends names none".to_owned()
        } else {
            reasons.join("; ")
        };
        return Err(failed(request, format!("no backend can run it: {why}")));
    }
    Ok(runners)
}
