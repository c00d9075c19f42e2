//! The devices of a configuration's instance groups.

use std::collections::BTreeMap;

use hs_model_config::{ModelConfig, ModelInstanceGroup, model_instance_group::Kind};
use hs_runtime::Device;

/// A device, and how many calls run there at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: Device,
    /// 0: as many as its backend likes.
    pub(super) instances: usize,
}

/// Each device once, in the order of the groups; without groups, any device.
pub(super) fn places(config: &ModelConfig) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for group in &config.instance_group {
        let instances = usize::try_from(group.count).unwrap_or(0).max(1);
        for device in devices(group) {
            match places.iter_mut().find(|p| p.device == device) {
                Some(place) => place.instances += instances,
                None => places.push(Place { device, instances }),
            }
        }
    }
    if places.is_empty() {
        places.push(Place { device: Device::Auto, instances: 0 });
    }
    places
}

/// Several accelerators become the setting `devices`, where there is none: a backend that spreads a model over them takes
/// them so.
pub(super) fn list(config: &ModelConfig, options: &mut BTreeMap<String, String>) {
    let accelerator =
        |p: Place| if let Device::Accelerator(i) = p.device { Some(i.to_string()) } else { None };
    let indices: Vec<String> = places(config).into_iter().filter_map(accelerator).collect();
    if indices.len() > 1 {
        options.entry("devices".to_owned()).or_insert_with(|| indices.join(","));
    }
}

fn devices(group: &ModelInstanceGroup) -> Vec<Device> {
    // Numbers below 0 are refused by whoever checks the configuration.
    let listed = || group.gpus.iter().map(|g| Device::Accelerator(u32::try_from(*g).unwrap_or(0))).collect();
    match group.kind() {
        Kind::Cpu => vec![Device::Cpu],
        Kind::Gpu if group.gpus.is_empty() => vec![Device::Accelerator(0)],
        Kind::Auto | Kind::Model if group.gpus.is_empty() => vec![Device::Auto],
        Kind::Gpu | Kind::Auto | Kind::Model => listed(),
    }
}

/// Name of a device, for a person.
pub(super) fn name(device: Device) -> String {
    match device {
        Device::Auto => "any device".to_owned(),
        Device::Cpu => "cpu".to_owned(),
        Device::Accelerator(i) => format!("gpu {i}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_name_devices() {
        let of = |text: &str| {
            let config = hs_model_config::parse_pbtxt(text).unwrap();
            places(&config).iter().map(|p| format!("{} x{}", name(p.device), p.instances)).collect::<Vec<_>>()
        };
        assert_eq!(of(""), ["any device x0"]);
        assert_eq!(of("instance_group {}"), ["any device x1"]);
        assert_eq!(of("instance_group { kind: KIND_CPU count: 4 }"), ["cpu x4"]);
        assert_eq!(of("instance_group { kind: KIND_GPU }"), ["gpu 0 x1"]);
        let two = "instance_group { kind: KIND_GPU count: 2 gpus: [1, 0] } instance_group { kind: KIND_CPU }
                   instance_group { kind: KIND_AUTO gpus: 1 }";
        assert_eq!(of(two), ["gpu 1 x3", "gpu 0 x2", "cpu x1"]);
        let mut options = BTreeMap::new();
        list(&hs_model_config::parse_pbtxt(two).unwrap(), &mut options);
        assert_eq!(options["devices"], "1,0");
        list(
            &hs_model_config::parse_pbtxt("instance_group { kind: KIND_GPU gpus: [2, 3] }").unwrap(),
            &mut options,
        );
        assert_eq!(options["devices"], "1,0");
    }
}
