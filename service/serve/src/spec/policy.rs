//! Queues, batches and instances of a configuration.

use std::time::Duration;

use hs_model_config::{
    ModelConfig, ModelDynamicBatching, ModelQueuePolicy, model_config::SchedulingChoice, model_queue_policy,
};

use super::{SpecError, parameter};
use crate::scheduler::{Batching, Policy, QueuePolicy, TimeoutAction};

/// Priority levels at most: each has a queue of its own.
const MAX_LEVELS: u64 = 1024;
/// Instances at most.
const MAX_INSTANCES: usize = 4096;

pub(super) fn policy(model: &str, config: &ModelConfig, max_batch: usize) -> Result<Policy, SpecError> {
    let mut policy = Policy {
        max_batch,
        instances: instances(model, config)?,
        execution_timeout: execution_timeout(model, config)?,
        ..Policy::default()
    };
    if let Some(SchedulingChoice::DynamicBatching(dynamic)) = &config.scheduling_choice {
        dynamic_batching(model, dynamic, &mut policy)?;
    }
    Ok(policy)
}

fn dynamic_batching(
    model: &str,
    dynamic: &ModelDynamicBatching,
    policy: &mut Policy,
) -> Result<(), SpecError> {
    let fail = |field: &str, problem: String| {
        Err(SpecError::new(model, format!("dynamic_batching: {field}"), problem))
    };
    let mut preferred = Vec::with_capacity(dynamic.preferred_batch_size.len());
    for size in &dynamic.preferred_batch_size {
        match usize::try_from(*size) {
            Ok(n) if n > 0 && n <= policy.max_batch => preferred.push(n),
            _ => {
                let most = policy.max_batch;
                return fail(
                    "preferred_batch_size",
                    format!("has {size}; expected 1 to max_batch_size, which is {most}"),
                );
            }
        }
    }
    preferred.sort_unstable();
    preferred.dedup();
    if policy.max_batch == 0 {
        tracing::warn!(model, "dynamic_batching joins no requests: max_batch_size is 0");
    } else {
        policy.batching = Some(Batching {
            delay: Duration::from_micros(dynamic.max_queue_delay_microseconds),
            preferred,
            preserve_ordering: dynamic.preserve_ordering,
        });
    }
    let (levels, default) = (dynamic.priority_levels, dynamic.default_priority_level);
    if levels > MAX_LEVELS {
        return fail("priority_levels", format!("is {levels}; expected at most {MAX_LEVELS}"));
    }
    if default > levels || (levels > 0 && default == 0) {
        return fail(
            "default_priority_level",
            format!("is {default}; expected 1 to priority_levels, which is {levels}"),
        );
    }
    policy.levels = levels;
    policy.default_level = default;
    if let Some(queue) = &dynamic.default_queue_policy {
        policy.default_queue = queue_policy(queue);
    }
    for (level, queue) in &dynamic.priority_queue_policy {
        if *level == 0 || *level > levels {
            return fail(
                "priority_queue_policy",
                format!("has a key of {level}; expected 1 to priority_levels, which is {levels}"),
            );
        }
        policy.queues.insert(*level, queue_policy(queue));
    }
    Ok(())
}

fn queue_policy(queue: &ModelQueuePolicy) -> QueuePolicy {
    let timeout = queue.default_timeout_microseconds;
    QueuePolicy {
        action: match queue.timeout_action() {
            model_queue_policy::TimeoutAction::Reject => TimeoutAction::Reject,
            model_queue_policy::TimeoutAction::Delay => TimeoutAction::Delay,
        },
        timeout: (timeout > 0).then(|| Duration::from_micros(timeout)),
        allow_override: queue.allow_timeout_override,
        max_size: queue.max_queue_size as usize,
    }
}

/// Instances of all groups; a group without a count has one, a group of GPUs its count on each.
fn instances(model: &str, config: &ModelConfig) -> Result<usize, SpecError> {
    let mut all = 0usize;
    for (i, group) in config.instance_group.iter().enumerate() {
        let fail = |field: &str, problem: String| {
            Err(SpecError::new(model, format!("instance_group[{i}]: {field}"), problem))
        };
        let Ok(count) = usize::try_from(group.count) else {
            return fail("count", format!("is {}; expected 1 or more", group.count));
        };
        if let Some(gpu) = group.gpus.iter().find(|g| **g < 0) {
            return fail("gpus", format!("has {gpu}; devices are numbered from 0"));
        }
        all = all.saturating_add(count.max(1).saturating_mul(group.gpus.len().max(1)));
    }
    if all > MAX_INSTANCES {
        return Err(SpecError::new(
            model,
            "instance_group: count",
            format!("is {all} in all; expected at most {MAX_INSTANCES}"),
        ));
    }
    Ok(all)
}

fn execution_timeout(model: &str, config: &ModelConfig) -> Result<Option<Duration>, SpecError> {
    let key = "execution_timeout_us";
    let Some(text) = parameter(config, key) else { return Ok(None) };
    match text.trim().parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(us) => Ok(Some(Duration::from_micros(us))),
        Err(_) => Err(SpecError::new(
            model,
            format!("parameters: {key}"),
            format!("is '{text}'; expected a whole number of microseconds, 0 for no limit"),
        )),
    }
}
