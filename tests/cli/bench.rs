//! `bench` of a model on this machine, and `inspect --plan`: what is said, not how fast it was.

use hs_emulator::Isa;
use hs_runtime::{Tensor, npy};
use serde_json::{Value, json};

use crate::{MLP, hypersonic, run};

const QUICK: [&str; 4] = ["--seconds", "0.05", "--warmup", "0.01"];
const TYPES: [&str; 2] = ["--precision", "fixed<16,6>"];

#[test]
fn a_package_is_measured_at_each_batch_size() {
    let dir = tempfile::tempdir().unwrap();
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", TYPES[0], TYPES[1]).ok();
    let measured = |more: &[&str]| {
        hypersonic(dir.path(), &[&["bench", "pkg", "--json"], &QUICK[..], more].concat()).ok().json()
    };
    let json = measured(&["--batch", "1,7,300", "--threads", "2"]);
    let inspected = run!(dir.path(), "inspect", "pkg", "--json").ok().json();
    for key in ["fingerprint", "macs", "model"] {
        assert_eq!(json[key], inspected[key], "{key}");
    }
    assert_eq!((&json["threads"], &json["seconds"]), (&json!(2), &json!(0.05)));
    assert_eq!(json["isa"], serde_json::to_value(Isa::best()).unwrap());
    let levels = json["levels"].as_array().unwrap();
    let batches: Vec<&Value> = levels.iter().map(|l| &l["batch"]).collect();
    assert_eq!(batches, [&json!(1), &json!(7), &json!(300)]);
    for level in levels {
        let number = |key: &str| level[key].as_f64().unwrap();
        let rate = number("inferences_per_s");
        assert!(number("inferences_per_s_min") <= rate && rate <= number("inferences_per_s_max"), "{level}");
        assert_eq!(number("ns_per_inference"), 1e9 / rate);
        assert_eq!(number("gmac_per_s"), rate * json["macs"].as_f64().unwrap() * 1e-9);
        let latency = |q: &str| level["latency_us"][q].as_f64().unwrap();
        assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99") && latency("p99") <= latency("max"));
        assert!(level["calls"].as_u64() >= level["rounds"].as_u64() && number("rounds") >= 1.0, "{level}");
    }
    if cfg!(target_os = "linux") {
        assert!(json["peak_rss_bytes"].as_u64().unwrap() > 1 << 20, "{json}");
    }

    let json = measured(&["--isa", "generic", "--threads", "1"]);
    assert_eq!((&json["isa"], &json["threads"]), (&json!("generic"), &json!(1)));
    assert_eq!(json["levels"].as_array().unwrap().iter().map(|l| &l["batch"]).collect::<Vec<_>>(), [1, 1024]);

    let text = hypersonic(dir.path(), &[&["bench", "pkg", "--batch", "64"], &QUICK[..]].concat()).ok().stdout;
    for part in ["inferences/s", "GMAC/s", "call p50 µs", "peak memory"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_model_is_compiled_and_given_rows_are_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let model = MLP.onnx();
    let args = |more: &[&str]| {
        let all = [&["bench", model.to_str().unwrap(), "--json"], &TYPES[..], &QUICK, more].concat();
        hypersonic(dir.path(), &all)
    };
    let x = MLP.x();
    let rows = npy::load(&x).unwrap().rows();
    let more = (2 * rows + 1).to_string();
    let json = args(&["--input", x.to_str().unwrap(), "--batch", &more]).ok().json();
    assert_eq!(json["levels"][0]["batch"], json!(2 * rows + 1));

    npy::save(dir.path().join("wrong.npy"), &Tensor::of(vec![4, 3], vec![0f32; 12]).unwrap()).unwrap();
    npy::save(dir.path().join("none.npy"), &npy::load(&x).unwrap().slice_rows(0..0)).unwrap();
    for (more, code, part) in [
        (vec!["--input", "wrong.npy"], 3, "has shape [4, 3], expected one row at least of"),
        (vec!["--input", "none.npy"], 3, "expected one row at least of"),
        (vec!["--input", "absent.npy"], 3, "absent.npy"),
        (vec!["--batch", "0"], 2, "0"),
        (vec!["--batch", "4000000000"], 2, "choose a smaller batch"),
        (vec!["--threads", "0"], 2, "0"),
        (vec!["--isa", "neon"], 2, "generic"),
        (vec!["--rate", "5"], 2, "cannot be used with"),
        (vec!["--model", "jets"], 2, "cannot be used with"),
        (vec!["--url", "http://127.0.0.1:1", "--model", "jets"], 2, "cannot be used with"),
        (vec!["--ca", "ca.pem"], 2, "cannot be used with"),
        (vec!["--svg", "l.svg"], 2, "cannot be used with"),
    ] {
        let run = args(&more);
        assert_eq!(run.code, code, "{more:?}: {}", run.stdout);
        assert!(run.stdout.contains(part), "{more:?}: {}", run.stdout);
    }
    let run = run!(dir.path(), "bench", model, "--seconds", "0");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("expected more than 0"), "{}", run.stderr);
    let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available());
    if let Some(isa) = missing {
        let run = args(&["--isa", &format!("{isa:?}").to_lowercase()]);
        assert_eq!(run.code, 4, "{}", run.stdout);
        assert!(run.stdout.contains("this machine has no"), "{}", run.stdout);
    }
}

#[test]
fn options_of_a_compiler_and_several_batches_are_not_for_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let served = ["bench", "--url", "http://127.0.0.1:1", "--model", "jets"];
    for (more, part) in [
        (["--batch", "1,2"], "of a server's model one size is measured"),
        (TYPES, "--precision cannot be given"),
        (["--isa", "avx2"], "cannot be used with"),
    ] {
        let run = hypersonic(dir.path(), &[&served[..], &more].concat());
        assert_eq!(run.code, 2, "{more:?}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{more:?}: {}", run.stderr);
    }
    let neither = run!(dir.path(), "bench");
    assert_eq!(neither.code, 2);
    assert!(neither.stderr.contains("MODEL|PACKAGE"), "{}", neither.stderr);
}

#[test]
fn the_plan_has_a_line_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |more: &[&str]| {
        let model = MLP.onnx();
        hypersonic(dir.path(), &[&["inspect", model.to_str().unwrap(), "--plan"], &TYPES[..], more].concat())
    };
    let plan = inspect(&["--json", "--isa", "generic"]).ok().json()["plan"].clone();
    assert_eq!(plan["isa"], json!("generic"));
    let nodes = plan["nodes"].as_array().unwrap();
    let macs: u64 = nodes.iter().map(|n| n["macs"].as_u64().unwrap()).sum();
    assert_eq!(plan["macs"], json!(macs));
    let text = inspect(&["--isa", "generic"]).ok().stdout;
    assert!(text.contains("generic, blocks of"), "{text}");
    let heading = text.lines().position(|l| l.starts_with("layer") && l.ends_with("why")).expect("a heading");
    let lines: Vec<&str> = text.lines().skip(heading + 1).collect();
    assert_eq!(lines.len(), nodes.len());
    for (line, node) in lines.iter().zip(nodes) {
        let (name, why) = (node["node"].as_str().unwrap(), node["why"].as_str().unwrap());
        assert!(line.starts_with(name) && line.ends_with(why.trim_end()), "{line}: {node}");
    }
    let alone = run!(dir.path(), "inspect", MLP.onnx(), "--isa", "generic");
    assert_eq!(alone.code, 2);
    assert!(alone.stderr.contains("--plan"), "{}", alone.stderr);
}
