//! The report as Markdown.

use serde_json::Value;

use super::list;

/// Targets: a small request's rate and its median at one client, a large one's rate, all as shares of the echo's.
const SMALL_RATE: f64 = 0.8;
const SMALL_MEDIAN: f64 = 1.3;
const LARGE_RATE: f64 = 0.95;
/// Of a server with one package, with ten, and of any.
const READY_MS: [(&str, f64); 2] =
    [("hypersonic, 1 of the emulator", 50.0), ("hypersonic, 10 of the emulator", 500.0)];
const IDLE_MIB: f64 = 30.0;
const EXIT_MS: f64 = 500.0;

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or("–".to_owned(), |v| format!("{v:.digits$}"))
}

fn scaled(value: &Value, factor: f64, digits: usize) -> String {
    value.as_f64().map_or("–".to_owned(), |v| format!("{:.digits$}", v * factor))
}

/// The echo's row at the same level.
fn echo<'a>(rows: &'a [Value], row: &Value) -> Option<&'a Value> {
    let same = |key: &str, other: &Value| other[key] == row[key];
    rows.iter()
        .find(|r| r["server"] == "echo" && ["tensor", "protocol", "clients"].iter().all(|k| same(k, r)))
}

fn ratio(row: &Value, of: Option<&Value>, key: &str) -> Option<f64> {
    Some(row[key].as_f64()? / of?[key].as_f64()?)
}

pub(crate) fn markdown(report: &Value) -> String {
    let (rows, lives) = (list(&report["rows"]), list(&report["lives"]));
    let machine = &report["machine"];
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut out = format!(
        "{}, {} cores, load {} before; revision {}; {} s a measurement.\n\n",
        text(&machine["cpu"]),
        machine["cores"],
        text(&machine["load_before"]),
        text(&report["revision"]),
        report["duration_seconds"]
    );
    out.push_str(
        "| tensor | protocol | clients | server | requests/s | of echo | p50 µs | p99 µs | CPU µs a request | wrk, h2load: requests/s | perf_analyzer: requests/s | its p50 µs |\n\
         | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let share =
            ratio(row, echo(rows, row), "rps").map_or("–".to_owned(), |r| format!("{:.0} %", r * 100.0));
        let cells = [
            text(&row["tensor"]),
            text(&row["protocol"]),
            row["clients"].to_string(),
            text(&row["server"]),
            number(&row["rps"], 0),
            share,
            scaled(&row["p50_seconds"], 1e6, 0),
            scaled(&row["p99_seconds"], 1e6, 0),
            scaled(&row["cpu_seconds_per_request"], 1e6, 1),
            number(&row["other_rps"], 0),
            number(&row["perf_analyzer"]["rps"], 0),
            scaled(&row["perf_analyzer"]["p50_seconds"], 1e6, 0),
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out.push_str(
        "\n| server | ready, ms | idle, MiB | SIGTERM to exit, ms |\n| --- | ---: | ---: | ---: |\n",
    );
    for life in lives {
        let cells = [
            text(&life["server"]),
            number(&life["ready_ms"], 1),
            number(&life["idle_mib"], 1),
            number(&life["exit_ms"], 1),
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    for row in rows {
        for problem in list(&row["problems"]).iter().filter_map(Value::as_str) {
            let at = format!(
                "{} {}, {} clients, {}",
                row["tensor"], row["protocol"], row["clients"], row["server"]
            );
            out.push_str(&format!("\n{}: {}\n", at.replace('"', ""), problem.replace('\n', " ")));
        }
    }
    let failed: u64 = rows.iter().filter_map(|r| r["failed"].as_u64()).sum();
    if failed > 0 {
        out.push_str(&format!("\n{failed} requests failed.\n"));
    }
    let verdicts = verdicts(rows, lives);
    if !verdicts.is_empty() {
        out.push_str("\n| target | found | reached |\n| --- | ---: | --- |\n");
        for (what, found, reached) in verdicts {
            out.push_str(&format!("| {what} | {found} | {} |\n", if reached { "yes" } else { "no" }));
        }
    }
    out
}

/// Each target, what was found, and whether that is enough.
fn verdicts(rows: &[Value], lives: &[Value]) -> Vec<(String, String, bool)> {
    let mut all = Vec::new();
    for row in rows.iter().filter(|r| r["server"] == "hypersonic") {
        let echo = echo(rows, row);
        let at =
            format!("{} {}, {} clients", row["tensor"], row["protocol"], row["clients"]).replace('"', "");
        let small = row["tensor"] == "[1, 16]";
        let least = if small { SMALL_RATE } else { LARGE_RATE };
        if let Some(found) = ratio(row, echo, "rps") {
            let what = format!("{at}: rate at least {:.0} % of the echo's", least * 100.0);
            all.push((what, format!("{:.0} %", found * 100.0), found >= least));
        }
        if small
            && row["clients"] == 1
            && let Some(found) = ratio(row, echo, "p50_seconds")
        {
            let what = format!("{at}: p50 at most {SMALL_MEDIAN} times the echo's");
            all.push((what, format!("{found:.2}"), found <= SMALL_MEDIAN));
        }
    }
    for life in lives {
        let server = life["server"].as_str().unwrap_or_default();
        let mut at_most = |what: &str, key: &str, most: f64| {
            if let Some(found) = life[key].as_f64() {
                all.push((format!("{server}: {what} at most {most}"), format!("{found:.1}"), found <= most));
            }
        };
        for (name, most) in READY_MS {
            if name == server {
                at_most("ready, ms,", "ready_ms", most);
            }
        }
        if server == READY_MS[0].0 {
            at_most("idle, MiB,", "idle_mib", IDLE_MIB);
        }
        if server.starts_with("hypersonic") {
            at_most("exit, ms,", "exit_ms", EXIT_MS);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_compared_with_the_echo_at_their_level() {
        let row = |server: &str, clients: u32, rps: f64, p50: f64| {
            json!({
                "server": server, "tensor": "[1, 16]", "protocol": "http", "clients": clients, "rps": rps,
                "p50_seconds": p50, "failed": 0,
            })
        };
        let rows = vec![
            row("echo", 1, 100.0, 1e-4),
            row("echo", 4, 1000.0, 1e-4),
            row("hypersonic", 1, 85.0, 1.4e-4),
            row("hypersonic", 4, 500.0, 1e-4),
        ];
        let found: Vec<_> = verdicts(&rows, &[]).into_iter().map(|(_, found, ok)| (found, ok)).collect();
        let expected = [("85 %", true), ("1.40", false), ("50 %", false)];
        assert_eq!(found, expected.map(|(f, ok)| (f.to_owned(), ok)));
        let text = markdown(&json!({ "rows": rows, "lives": [], "machine": {}, "revision": "r" }));
        assert!(text.contains("| [1, 16] | http | 4 | hypersonic | 500 | 50 % | 100 | – |"), "{text}");
    }

    #[test]
    fn each_servers_life_has_its_own_targets() {
        let life =
            |server: &str| json!({ "server": server, "ready_ms": 60.0, "idle_mib": 20.0, "exit_ms": 3.0 });
        let lives = ["hypersonic, 1 of the emulator", "hypersonic, 10 of the emulator", "triton"].map(life);
        let reached: Vec<bool> = verdicts(&[], &lives).into_iter().map(|(.., ok)| ok).collect();
        assert_eq!(reached, [false, true, true, true, true]);
    }
}
