//! What was measured, as Markdown and as pictures.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bars::{self, Group, short};
use crate::bench::list;

/// Contestants in the order of columns and bars.
const ORDER: [&str; 6] =
    ["hypersonic", "alkaid", "hls4ml", "onnxruntime fp32", "onnxruntime int8", "numpy fp32"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A heading whose first columns hold words, all others numbers.
fn heading(names: &[&str], words: usize) -> String {
    let cells: Vec<String> = names.iter().map(ToString::to_string).collect();
    let rules: Vec<String> =
        (0..names.len()).map(|i| if i < words { "---" } else { "---:" }.to_owned()).collect();
    row(&cells) + &row(&rules)
}

fn result<'a>(case: &'a Value, contestant: &str, threads: u64) -> Option<&'a Value> {
    list(&case["results"])
        .iter()
        .find(|r| r["contestant"] == contestant && r["threads"].as_u64() == Some(threads))
}

/// Numbers of threads that `hypersonic` ran with, ascending.
fn threads(report: &Value) -> BTreeSet<u64> {
    let results = list(&report["cases"]).iter().flat_map(|c| list(&c["results"]));
    results.filter(|r| r["contestant"] == "hypersonic").filter_map(|r| r["threads"].as_u64()).collect()
}

/// The median with its least and most, and the batch.
fn rate(found: &Value) -> String {
    let rates: Vec<f64> = list(&found["rates"]).iter().filter_map(Value::as_f64).collect();
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rates.iter().copied().fold(0.0, f64::max);
    let median = found["inferences_per_s"].as_f64().unwrap_or(f64::NAN);
    let batch = found["batch"].as_u64().map_or(String::new(), |b| format!(", batch {b}"));
    format!("{} ({} to {}{batch})", short(median), short(least), short(most))
}

/// A peer's rate, its batch, and how many times as fast `hypersonic` is.
fn peer(found: Option<&Value>) -> String {
    let Some(found) = found else { return "–".to_owned() };
    let median = found["inferences_per_s"].as_f64().unwrap_or(f64::NAN);
    let times = found["times_slower"].as_f64().map_or(String::new(), |t| format!(", **{}×**", short(t)));
    format!("{} ({}){times}", short(median), found["batch"])
}

/// The report of a run, of all cases or of the served one.
pub(super) fn markdown(report: &Value) -> String {
    let (machine, versions) = (&report["machine"], &report["versions"]);
    let mut out = format!(
        "{}, {} cores, load {} before; revision {}; {} rounds of {} s. ",
        text(&machine["cpu"]),
        machine["cores"],
        text(&machine["load_before"]),
        text(&report["revision"]),
        report["rounds"],
        report["seconds"]
    );
    let names = ["hls4ml", "alkaid", "onnxruntime", "numpy"];
    let peers: Vec<String> = names.iter().map(|n| format!("{n} {}", text(&versions[*n]))).collect();
    out.push_str(&format!("{}.\n", peers.join(", ")));
    for n in threads(report) {
        out.push_str(&rates(report, n));
    }
    if !list(&report["cases"]).is_empty() {
        out.push_str(&latencies(report));
        out.push_str(&bits(report));
    }
    out.push_str(&peaks(report));
    out.push_str(&served(&report["served"]));
    out.push_str(&absent(report));
    out
}

fn rates(report: &Value, threads: u64) -> String {
    let peers: Vec<&str> = ORDER[1..].to_vec();
    let names: Vec<&str> = ["inferences/s", "MACs", "hypersonic", "GMAC/s", "MiB"]
        .into_iter()
        .chain(peers.iter().copied())
        .collect();
    let plural = if threads == 1 { "thread" } else { "threads" };
    let mut out = format!("\n{threads} {plural}:\n\n{}", heading(&names, 1));
    for case in list(&report["cases"]) {
        let Some(ours) = result(case, "hypersonic", threads) else { continue };
        let gmacs = ours["gmac_per_s"].as_f64().unwrap_or(f64::NAN);
        let mut cells = vec![
            text(&case["title"]).to_owned(),
            case["macs"].to_string(),
            rate(ours),
            format!("{gmacs:.1}"),
            ours["peak_rss_bytes"].as_f64().map_or("–".to_owned(), |b| format!("{:.0}", b / 1048576.0)),
        ];
        cells.extend(peers.iter().map(|name| peer(result(case, name, threads))));
        out.push_str(&row(&cells));
    }
    out
}

fn latencies(report: &Value) -> String {
    let names: Vec<&str> = ["one row, p50 and p99 in µs"].into_iter().chain(ORDER).collect();
    let mut out = format!("\n{}", heading(&names, 1));
    for case in list(&report["cases"]) {
        let cell = |name: &&str| {
            let micros = result(case, name, 1).map(|r| &r["latency_us"]);
            let of = |q: &str| micros.and_then(|m| m[q].as_f64());
            match (of("p50"), of("p99")) {
                (Some(p50), Some(p99)) => format!("{p50:.1}, {p99:.1}"),
                _ => "–".to_owned(),
            }
        };
        let mut cells = vec![text(&case["title"]).to_owned()];
        cells.extend(ORDER.iter().map(cell));
        out.push_str(&row(&cells));
    }
    out
}

/// Who gave the same bits where it should.
fn bits(report: &Value) -> String {
    let mut out = String::new();
    for case in list(&report["cases"]) {
        for (name, share) in case["same_bits"].as_object().into_iter().flatten() {
            let share = share.as_f64().unwrap_or(0.0) * 100.0;
            let what = if share < 100.0 {
                format!("{share:.3} % the same bits")
            } else {
                "the same bits".to_owned()
            };
            out.push_str(&format!("* {}: {what} as {name}.\n", text(&case["title"])));
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

fn peaks(report: &Value) -> String {
    let all = list(&report["peaks"]);
    if all.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "\n{}",
        heading(&["what a core multiplies", "instructions", "by", "GMAC/s at most", "all cores at once"], 3)
    );
    for peak in all {
        let gmacs =
            |key: &str| peak[key].as_f64().map_or("not on this machine".to_owned(), |g| format!("{g:.1}"));
        let words = ["operands", "isa", "instructions"].map(|k| text(&peak[k]).to_owned());
        let [one, all] = ["gmac_per_s", "gmac_per_s_of_all_cores"].map(gmacs);
        out.push_str(&row(&[words[0].clone(), words[1].clone(), words[2].clone(), one, all]));
    }
    out
}

fn served(served: &Value) -> String {
    let all = list(&served["results"]);
    if all.is_empty() {
        return String::new();
    }
    let what = format!("{}, [{}, {}] FP32", text(&served["title"]), served["rows"], served["row"]);
    let compared: Vec<String> =
        list(&served["compared"]).iter().map(|name| format!("of {}", text(name))).collect();
    let names = [&what, "threads", "rows/s", "ms"].into_iter().chain(compared.iter().map(String::as_str));
    let mut out = format!("\n{}", heading(&names.collect::<Vec<_>>(), 1));
    for r in all {
        let ms = r["ms_per_request"].as_f64().unwrap_or(f64::NAN);
        let mut cells =
            vec![text(&r["contestant"]).to_owned(), r["threads"].to_string(), rate(r), format!("{ms:.2}")];
        let times = list(&r["times_as_fast"]).iter().map(|t| t.as_f64().unwrap_or(f64::NAN));
        cells.extend(times.map(|t| format!("{}×", short(t))));
        out.push_str(&row(&cells));
    }
    for (name, share) in served["same_bits"].as_object().into_iter().flatten() {
        let share = share.as_f64().unwrap_or(0.0) * 100.0;
        out.push_str(&format!("\n{name}: {share} % of the values are those of `hypersonic emulate`.\n"));
    }
    out
}

/// Who did not take part, and why.
fn absent(report: &Value) -> String {
    let mut out = String::new();
    for case in list(&report["cases"]) {
        for a in list(&case["absent"]) {
            let why = text(&a["why"]).replace('\n', " ");
            out.push_str(&format!(
                "* {}, without {}: {why}.\n",
                text(&case["title"]),
                text(&a["contestant"])
            ));
        }
    }
    for s in list(&report["skipped"]) {
        out.push_str(&format!(
            "* {}: not measured: {}.\n",
            text(&s["title"]),
            text(&s["why"]).replace('\n', " ")
        ));
    }
    if out.is_empty() { out } else { format!("\nLeft out:\n\n{out}") }
}

/// Name and content of each picture.
pub(super) fn pictures(report: &Value) -> Vec<(String, String)> {
    let picture = |n: u64| {
        let group = |case: &Value| Group {
            label: text(&case["title"]).to_owned(),
            values: ORDER.iter().map(|name| result(case, name, n)?["inferences_per_s"].as_f64()).collect(),
        };
        let groups: Vec<Group> = list(&report["cases"]).iter().map(group).collect();
        let plural = if n == 1 { "thread" } else { "threads" };
        let title = format!("inferences a second, {n} {plural}, {}", text(&report["machine"]["cpu"]));
        (format!("emulator-{n}.svg"), bars::svg(&title, &ORDER, &groups))
    };
    threads(report).into_iter().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_has_a_row_a_case_and_says_what_is_missing() {
        let one = |name: &str, threads: u64, rate: f64, times: f64| {
            json!({
                "contestant": name, "threads": threads, "batch": 64, "rates": [rate / 2.0, rate, rate * 2.0],
                "inferences_per_s": rate, "gmac_per_s": rate * 1e-6, "times_slower": times,
                "latency_us": { "p50": 1.25, "p99": 3.0 }, "peak_rss_bytes": 3 << 20,
            })
        };
        let report = json!({
            "machine": { "cpu": "C", "cores": 2, "load_before": "0.1" }, "revision": "r", "rounds": 3, "seconds": 0.5,
            "versions": { "alkaid": "1.2" },
            "cases": [{
                "title": "net", "macs": 1000,
                "results": [one("hypersonic", 1, 2e6, 1.0), one("alkaid", 1, 5e4, 40.0), one("hypersonic", 2, 4e6, 1.0)],
                "same_bits": { "alkaid": 1.0 }, "absent": [{ "contestant": "hls4ml", "why": "no g++" }],
            }],
            "skipped": [{ "title": "large", "why": "is not here" }],
            "peaks": [{ "operands": "i8", "isa": "I", "instructions": "m", "gmac_per_s": 2.0, "gmac_per_s_of_all_cores": 3.5 }],
        });
        let text = markdown(&report);
        for part in [
            "\n1 thread:\n",
            "| net | 1000 | 2.00 M (1.00 M to 4.00 M, batch 64) | 2.0 | 3 | 50.0 k (64), **40.0×** | – | – | – | – |",
            "\n2 threads:\n",
            "| net | 1.2, 3.0 | 1.2, 3.0 | – | – | – | – |",
            "| i8 | I | m | 2.0 | 3.5 |",
            "* net: the same bits as alkaid.",
            "* net, without hls4ml: no g++.",
            "* large: not measured: is not here.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let names: Vec<String> = pictures(&report).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["emulator-1.svg", "emulator-2.svg"]);
    }
}
