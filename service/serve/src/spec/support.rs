//! What a configuration may ask for: refused where ignoring it would change answers, else noted in the log.

use hs_model_config::{ModelConfig, model_config::SchedulingChoice};

use super::SpecError;

/// Refuses what this server does not do.
pub(crate) fn check_supported(model: &str, config: &ModelConfig) -> Result<(), SpecError> {
    let refuse =
        |field: &str, remedy: &str| Err(SpecError::new(model, field, format!("is not supported; {remedy}")));
    match &config.scheduling_choice {
        Some(SchedulingChoice::EnsembleScheduling(_)) => {
            return refuse(
                "ensemble_scheduling",
                "merge the steps into one ONNX file, or serve them one by one",
            );
        }
        Some(SchedulingChoice::SequenceBatching(_)) => {
            return refuse("sequence_batching", "give the state as inputs and outputs of the model");
        }
        Some(SchedulingChoice::DynamicBatching(_)) | None => {}
    }
    if config.platform == "ensemble" {
        return refuse("platform 'ensemble'", "merge the steps into one ONNX file, or serve them one by one");
    }
    if config.model_transaction_policy.is_some_and(|p| p.decoupled) {
        return refuse("model_transaction_policy: decoupled", "every request has one answer here");
    }
    if !config.batch_input.is_empty() || !config.batch_output.is_empty() {
        return refuse("batch_input and batch_output", "pad the inputs to one shape");
    }
    if config.model_operations.as_ref().is_some_and(|o| !o.op_library_filename.is_empty()) {
        return refuse("model_operations: op_library_filename", "use the operators of ONNX");
    }
    Ok(())
}

/// Says in the log what is accepted and has no effect.
pub(crate) fn note_ignored(model: &str, config: &ModelConfig) {
    let groups = &config.instance_group;
    let ignored = [
        ("optimization", config.optimization.is_some()),
        ("runtime", !config.runtime.is_empty()),
        ("cc_model_filenames", !config.cc_model_filenames.is_empty()),
        ("metric_tags", !config.metric_tags.is_empty()),
        ("model_repository_agents", config.model_repository_agents.is_some()),
        ("response_cache", config.response_cache.as_ref().is_some_and(|c| c.enable)),
        ("model_metrics", config.model_metrics.is_some()),
        ("instance_group: passive", groups.iter().any(|g| g.passive)),
        ("instance_group: profile", groups.iter().any(|g| !g.profile.is_empty())),
        ("instance_group: host_policy", groups.iter().any(|g| !g.host_policy.is_empty())),
        ("instance_group: rate_limiter", groups.iter().any(|g| g.rate_limiter.is_some())),
        ("instance_group: secondary_devices", groups.iter().any(|g| !g.secondary_devices.is_empty())),
    ];
    for (field, _) in ignored.into_iter().filter(|(_, is)| *is) {
        tracing::info!(model, field, "this part of the configuration is accepted and has no effect");
    }
}
