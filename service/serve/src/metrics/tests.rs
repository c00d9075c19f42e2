//! The text is what a strict reader takes, and says what happened.

use std::collections::{BTreeMap, BTreeSet};

use hs_model_config::ModelConfig;

use super::*;
use crate::{
    LoadedModel, ServeError, Spec,
    scheduler::{Policy, fake::*},
};

type Labels = Vec<(String, String)>;

/// A metric as read.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<(String, Labels), f64>,
}

/// Reads Prometheus's text format and takes nothing that the format does not allow: each metric is announced once,
/// help before type before samples, its samples in one piece, names and labels of the allowed letters, no label and
/// no series twice, histograms cumulative.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            assert!(families.insert(name.to_owned(), Family::default()).is_none(), "twice: {line}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(name, current, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = families.get_mut(name).unwrap();
            assert!(family.kind.is_empty() && family.samples.is_empty(), "{line}");
            family.kind = kind.to_owned();
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).expect(line);
            let end = name.strip_prefix(current.as_str()).expect(line);
            let ends: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(ends.contains(&end), "{line}");
            assert!(value >= 0.0, "{line}");
            assert!(family.samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    families.values().filter(|f| f.kind == "histogram").for_each(check_histogram);
    families
}

fn sample(line: &str) -> (String, Labels, f64) {
    let is_name = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (key, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(key), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect(line) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect(line).1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((key.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let keys: BTreeSet<&String> = labels.iter().map(|(k, _)| k).collect();
    assert_eq!(keys.len(), labels.len(), "{line}");
    let value = rest.strip_prefix(' ').expect(line);
    (name.to_owned(), labels, value.parse().expect(line))
}

fn check_histogram(family: &Family) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), value) in &family.samples {
        if name.ends_with("_bucket") {
            let (le, rest): (Labels, Labels) = labels.iter().cloned().partition(|(k, _)| k == "le");
            let bound = le[0].1.parse().expect("a bound");
            series.entry(rest).or_default().push((bound, *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        let last = buckets.last().unwrap();
        assert_eq!(last.0, f64::INFINITY);
        let of = |end: &str| {
            let found = family.samples.iter().find(|((n, l), _)| n.ends_with(end) && *l == labels);
            *found.expect(end).1
        };
        assert_eq!(of("_count"), last.1);
        assert!(of("_sum") >= 0.0);
    }
}

/// Version 3 of a model.
fn served(name: &str, runners: Vec<crate::Runner>) -> Arc<Served> {
    let spec = Spec {
        name: name.into(),
        config: ModelConfig::default(),
        max_batch: 8,
        inputs: Vec::new(),
        outputs: Vec::new(),
        policy: Policy::default(),
    };
    Arc::new(Served::new(spec, 3, LoadedModel { runners, ..LoadedModel::default() }))
}

fn read(served: &[Arc<Served>]) -> BTreeMap<String, Family> {
    parse(&exposition(served, 5, &Meters::default(), Instant::now()))
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

const NAMES: &[(&str, &str)] = &[
    ("nv_inference_request_success", "counter"),
    ("nv_inference_request_failure", "counter"),
    ("nv_inference_count", "counter"),
    ("nv_inference_exec_count", "counter"),
    ("nv_inference_request_duration_us", "counter"),
    ("nv_inference_queue_duration_us", "counter"),
    ("nv_inference_compute_input_duration_us", "counter"),
    ("nv_inference_compute_infer_duration_us", "counter"),
    ("nv_inference_compute_output_duration_us", "counter"),
    ("nv_inference_pending_request_count", "gauge"),
    ("nv_model_load_duration_secs", "gauge"),
    ("nv_gpu_utilization", "gauge"),
    ("nv_cpu_utilization", "gauge"),
    ("nv_cpu_memory_total_bytes", "gauge"),
    ("nv_cpu_memory_used_bytes", "gauge"),
    ("nv_pinned_memory_pool_total_bytes", "gauge"),
    ("nv_pinned_memory_pool_used_bytes", "gauge"),
    ("hypersonic_request_duration_seconds", "histogram"),
    ("hypersonic_backend_healthy", "gauge"),
    ("hypersonic_requests_inside", "gauge"),
];

#[test]
fn an_empty_server_has_its_own() {
    let found = read(&[]);
    let kinds: BTreeMap<&str, &str> = found.iter().map(|(n, f)| (n.as_str(), f.kind.as_str())).collect();
    assert_eq!(kinds, NAMES.iter().copied().collect());
    let inside = &found["hypersonic_requests_inside"].samples;
    assert_eq!(inside.values().collect::<Vec<_>>(), [&5.0]);
    let ((_, of), share) = found["nv_gpu_utilization"].samples.first_key_value().unwrap();
    assert!(of[0].0 == "gpu_uuid" && of[0].1.starts_with("cpu-"), "{of:?}");
    assert!((0.0..=1.0).contains(share));
    assert!(found["nv_inference_count"].samples.is_empty());
}

#[test]
fn everything_is_there_at_zero() {
    let fake = Arc::new(Fake::new());
    let model = served("m", vec![fake.runner("fake", "card 1"), fake.runner("other", "cpu")]);
    let found = read(&[model]);
    let of_models = NAMES.iter().filter(|(n, _)| n.starts_with("nv_inference"));
    for (name, _) in of_models {
        let samples = &found[*name].samples;
        let count = if *name == "nv_inference_request_failure" { 4 } else { 1 };
        assert_eq!(samples.len(), count, "{name}");
        assert!(samples.values().all(|v| *v == 0.0), "{name}");
        assert!(samples.keys().all(|(_, l)| l[..2] == labels(&[("model", "m"), ("version", "3")])), "{name}");
    }
    assert_eq!(found["hypersonic_request_duration_seconds"].samples.len(), 22);
    let healthy = &found["hypersonic_backend_healthy"].samples;
    assert_eq!(healthy.len(), 2);
    assert!(healthy.values().all(|v| *v == 1.0));
    // The card is what servers are counted by, not the processor beside it.
    let devices: Vec<_> = found["nv_gpu_utilization"].samples.iter().collect();
    let key = ("nv_gpu_utilization".to_owned(), labels(&[("gpu_uuid", "card 1")]));
    assert_eq!(devices, [(&key, &0.0)]);
    // Nobody said how long loading took.
    assert!(found["nv_model_load_duration_secs"].samples.is_empty());
}

/// A name with everything that a label has to escape.
const ODD: &str = "odd \"name\"\\\n{a=\"b\"} 1";

#[tokio::test]
async fn what_happened_is_counted() {
    let fake = Arc::new(Fake::new().max_rows(2).hook(strict));
    let model = served(ODD, vec![fake.runner("fake", "cpu")]);
    model.set_load_time(std::time::Duration::from_millis(1_500));
    model.scheduler().run(job(&[1])).await.unwrap();
    model.scheduler().run(job(&[1, 2, 3])).await.unwrap();
    let refused: ServeError = model.scheduler().run(job(&[WRONG])).await.unwrap_err();
    assert_eq!(refused.code, crate::Code::InvalidArgument);
    let found = read(&[model]);
    let one = |name: &str, more: &[(&str, &str)]| {
        let mut key = labels(&[("model", ODD), ("version", "3")]);
        key.extend(labels(more));
        found[name].samples[&(name.to_owned(), key)]
    };
    assert_eq!(one("nv_inference_request_success", &[]), 2.0);
    assert_eq!(one("nv_inference_count", &[]), 4.0);
    assert_eq!(one("nv_inference_exec_count", &[]), 3.0);
    assert_eq!(one("nv_inference_request_failure", &[("reason", "OTHER")]), 1.0);
    assert_eq!(one("nv_inference_request_failure", &[("reason", "BACKEND")]), 0.0);
    assert_eq!(one("nv_model_load_duration_secs", &[]), 1.5);
    let latency = &found["hypersonic_request_duration_seconds"].samples;
    let count = latency.iter().find(|((n, _), _)| n.ends_with("_count")).unwrap();
    assert_eq!(*count.1, 2.0);
}
