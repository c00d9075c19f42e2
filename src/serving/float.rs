//! ONNX files in float.

use std::path::Path;

use hs_model_config::model_instance_group::Kind;
use hs_runtime::{Backend as _, Device, Executable, Model};
use hs_serve::{LoadRequest, LoadedModel};

use super::{Loader, failed, runner, settings};

/// Platform and backend in configuration and metadata, as Triton's.
const PLATFORM: &str = "onnxruntime_onnx";

/// Where a model is to run, and with how many instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: Device,
    instances: usize,
}

/// Loads the ONNX file at `path` on the devices of the configuration's instance groups, in their order.
pub(super) fn load(loader: &Loader, request: &LoadRequest<'_>, path: &Path) -> Result<LoadedModel, String> {
    let (mut runners, mut reasons) = (Vec::new(), Vec::new());
    for place in places(request) {
        match on(loader, request, path, place) {
            Ok((device, executable)) => runners.push(runner(loader.float.name(), device, executable)),
            Err(why) => {
                tracing::warn!(model = request.name, "not on {}: {why}", name(place.device));
                reasons.push(why);
            }
        }
    }
    let Some(first) = runners.first() else { return Err(failed(request, reasons.join("; "))) };
    Ok(LoadedModel {
        batched: first.executable.has_batch(),
        platform: PLATFORM.to_owned(),
        backend: loader.float.name().to_owned(),
        runners,
        ..LoadedModel::default()
    })
}

fn places(request: &LoadRequest<'_>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut add = |device: Device, instances: usize| match places.iter_mut().find(|p| p.device == device) {
        Some(place) => place.instances += instances,
        None => places.push(Place { device, instances }),
    };
    for group in &request.config.instance_group {
        let count = usize::try_from(group.count).unwrap_or(0).max(1);
        match group.kind() {
            Kind::Cpu => add(Device::Cpu, count),
            Kind::Gpu if group.gpus.is_empty() => add(Device::Accelerator(0), count),
            Kind::Gpu => group.gpus.iter().for_each(|g| {
                add(Device::Accelerator(u32::try_from(*g).unwrap_or(0)), count);
            }),
            Kind::Auto | Kind::Model => match group.gpus.first() {
                Some(_) => group.gpus.iter().for_each(|g| {
                    add(Device::Accelerator(u32::try_from(*g).unwrap_or(0)), count);
                }),
                None => add(Device::Auto, count),
            },
        }
    }
    if places.is_empty() {
        places.push(Place { device: Device::Auto, instances: 1 });
    }
    places
}

/// The model on a device, and the device's name. Where it does not matter which, a GPU that can be used is.
fn on(
    loader: &Loader,
    request: &LoadRequest<'_>,
    path: &Path,
    place: Place,
) -> Result<(String, std::sync::Arc<dyn Executable>), String> {
    if place.device == Device::Auto {
        if loader.float.accelerator().is_ok() {
            match on(loader, request, path, Place { device: Device::Accelerator(0), ..place }) {
                Ok(found) => return Ok(found),
                Err(why) => tracing::warn!(model = request.name, "runs on the CPU: {why}"),
            }
        }
        return on(loader, request, path, Place { device: Device::Cpu, ..place });
    }
    let mut options = settings(request.config);
    options.insert("instances".to_owned(), place.instances.to_string());
    options.insert("max_batch_size".to_owned(), request.config.max_batch_size.max(0).to_string());
    let model = Model {
        name: request.name.to_owned(),
        onnx: Some(path.to_owned()),
        device: place.device,
        options,
        ..Model::default()
    };
    let executable = loader.float.load(&model).map_err(|e| e.to_string())?;
    Ok((name(place.device), executable))
}

fn name(device: Device) -> String {
    match device {
        Device::Auto => "any device".to_owned(),
        Device::Cpu => "cpu".to_owned(),
        Device::Accelerator(i) => format!("gpu {i}"),
    }
}
