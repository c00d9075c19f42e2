//! What there is to know of the server and its models.

use std::collections::BTreeMap;

use hs_serve::{ModelStatistics, Server, StatisticDuration, TensorMetadata};
use serde::Serialize;

use super::{answer::Answer, error::HttpError, routes::Target};

pub(super) fn server(server: &Server) -> Result<Answer, HttpError> {
    #[derive(Serialize)]
    struct Wire<'a> {
        name: &'a str,
        version: &'a str,
        extensions: &'a [&'a str],
    }
    let known = server.metadata();
    Answer::json(&Wire { name: &known.name, version: known.version, extensions: known.extensions })
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [i64],
}

impl<'a> Tensor<'a> {
    fn all(tensors: &'a [TensorMetadata]) -> Vec<Self> {
        tensors.iter().map(|t| Self { name: &t.name, datatype: t.datatype, shape: &t.shape }).collect()
    }
}

pub(super) fn metadata(server: &Server, target: &Target<'_>) -> Result<Answer, HttpError> {
    #[derive(Serialize)]
    struct Wire<'a> {
        name: &'a str,
        versions: Vec<String>,
        platform: &'a str,
        inputs: Vec<Tensor<'a>>,
        outputs: Vec<Tensor<'a>>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<&'a str, &'a str>,
    }
    let model = server.model(&target.name, target.version)?;
    let versions =
        if target.version.is_empty() { server.versions(&target.name) } else { vec![model.version()] };
    let known = model.metadata();
    Answer::json(&Wire {
        name: &known.name,
        versions: versions.iter().map(u64::to_string).collect(),
        platform: &known.platform,
        inputs: Tensor::all(&known.inputs),
        outputs: Tensor::all(&known.outputs),
        parameters: known.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
    })
}

pub(super) fn config(server: &Server, target: &Target<'_>) -> Result<Answer, HttpError> {
    let model = server.model(&target.name, target.version)?;
    Answer::json(&hs_model_config::to_json(&model.spec().config))
}

#[derive(Serialize)]
struct Times {
    count: u64,
    ns: u64,
}

impl From<StatisticDuration> for Times {
    fn from(d: StatisticDuration) -> Self {
        Self { count: d.count, ns: d.ns }
    }
}

#[derive(Serialize)]
struct Inferences {
    success: Times,
    fail: Times,
    queue: Times,
    compute_input: Times,
    compute_infer: Times,
    compute_output: Times,
    cache_hit: Times,
    cache_miss: Times,
}

#[derive(Serialize)]
struct Batch {
    batch_size: u64,
    compute_input: Times,
    compute_infer: Times,
    compute_output: Times,
}

#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    version: String,
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: Inferences,
    /// By response of models that give several; there are none.
    response_stats: BTreeMap<&'a str, ()>,
    batch_stats: Vec<Batch>,
    memory_usage: [(); 0],
}

impl<'a> From<&'a ModelStatistics> for Model<'a> {
    fn from(s: &'a ModelStatistics) -> Self {
        // There is no response cache.
        let none = || Times { count: 0, ns: 0 };
        let batches = s.batches.iter().map(|b| Batch {
            batch_size: b.batch_size,
            compute_input: b.compute_input.into(),
            compute_infer: b.compute_infer.into(),
            compute_output: b.compute_output.into(),
        });
        Self {
            name: &s.name,
            version: s.version.to_string(),
            last_inference: s.last_inference,
            inference_count: s.inference_count,
            execution_count: s.execution_count,
            inference_stats: Inferences {
                success: s.success.into(),
                fail: s.fail.into(),
                queue: s.queue.into(),
                compute_input: s.compute_input.into(),
                compute_infer: s.compute_infer.into(),
                compute_output: s.compute_output.into(),
                cache_hit: none(),
                cache_miss: none(),
            },
            response_stats: BTreeMap::new(),
            batch_stats: batches.collect(),
            memory_usage: [],
        }
    }
}

pub(super) fn statistics(server: &Server, model: &str, version: &str) -> Result<Answer, HttpError> {
    #[derive(Serialize)]
    struct Wire<'a> {
        model_stats: Vec<Model<'a>>,
    }
    let all = server.statistics(model, version)?;
    Answer::json(&Wire { model_stats: all.iter().map(Model::from).collect() })
}
