//! What measures: our own client, and wrk, h2load and perf_analyzer where they are installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{BenchError, Options, failed, models::Shape, output, process::Running};

pub(crate) struct Bench<'a> {
    hypersonic: PathBuf,
    duration: f64,
    warmup: f64,
    work: &'a Path,
    perf_analyzer: Option<PathBuf>,
    wrk: bool,
    h2load: bool,
}

/// Whether a program can be started.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

impl<'a> Bench<'a> {
    pub(crate) fn new(options: &Options, hypersonic: &Path, work: &'a Path) -> Self {
        let perf_analyzer = env::var_os("HYPERSONIC_PERF_ANALYZER").map(PathBuf::from);
        let perf_analyzer = perf_analyzer.or_else(|| has("perf_analyzer").then(|| "perf_analyzer".into()));
        Self {
            hypersonic: hypersonic.to_owned(),
            duration: options.duration,
            warmup: options.warmup,
            work,
            perf_analyzer,
            wrk: has("wrk"),
            h2load: has("h2load"),
        }
    }

    /// A server at one level, by all that can measure it.
    pub(crate) fn measure(
        &self,
        server: &Running,
        tensor: &Shape,
        protocol: &str,
        clients: u32,
    ) -> Result<Value, BenchError> {
        let mut row = self.own(server, tensor, protocol, clients)?;
        row["server"] = json!(server.name);
        row["tensor"] = json!(format!("[{}, {}]", tensor.rows, tensor.width));
        row["protocol"] = json!(protocol);
        row["clients"] = json!(clients);
        row["other_rps"] = match protocol {
            "http" if self.wrk => json!(self.wrk(server, tensor, clients)?),
            "grpc" if self.h2load => json!(self.h2load(server, tensor, clients)?),
            _ => Value::Null,
        };
        // The echo has no statistics, which perf_analyzer asks for.
        row["perf_analyzer"] = match &self.perf_analyzer {
            Some(program) if server.name != "echo" => {
                self.perf_analyzer(program, server, tensor, protocol, clients)?
            }
            _ => Value::Null,
        };
        Ok(row)
    }

    /// `hypersonic bench`, and what the server used meanwhile.
    fn own(
        &self,
        server: &Running,
        tensor: &Shape,
        protocol: &str,
        clients: u32,
    ) -> Result<Value, BenchError> {
        let port = if protocol == "http" { server.http } else { server.grpc };
        let mut command = Command::new(&self.hypersonic);
        command.args(["bench", "--json", "--url", &format!("{protocol}://127.0.0.1:{port}")]);
        command.args(["--model", tensor.name, "--batch", &tensor.rows.to_string()]);
        command.args(["--concurrency", &clients.to_string()]);
        command.args(["--duration", &self.duration.to_string(), "--warmup", &self.warmup.to_string()]);
        let before = server.cpu_seconds();
        let text = output(&mut command)?;
        let used = server.cpu_seconds() - before;
        let json: Value = serde_json::from_str(&text)
            .map_err(|e| BenchError::Output { what: "hypersonic bench", text: format!("{e}: {text}") })?;
        let level = &json["levels"][0];
        let (latency, sent) = (&level["latency_seconds"], level["sent"].as_f64().unwrap_or(f64::NAN));
        Ok(json!({
            "rps": level["requests_per_second"], "failed": level["failed"],
            "p50_seconds": latency["p50"], "p99_seconds": latency["p99"],
            "cpu_seconds_per_request": used / sent,
        }))
    }

    /// Requests a second by wrk.
    fn wrk(&self, server: &Running, tensor: &Shape, clients: u32) -> Result<f64, BenchError> {
        let header = format!(
            r#"{{"inputs":[{{"name":"INPUT","datatype":"FP32","shape":[{},{}],"parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
            tensor.rows,
            tensor.width,
            tensor.bytes()
        );
        let script = self.work.join("wrk.lua");
        let text = format!(
            "wrk.method = \"POST\"\n\
             wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n\
             wrk.headers[\"Inference-Header-Content-Length\"] = \"{}\"\n\
             wrk.body = [[{header}]] .. string.rep(\"\\0\", {})\n",
            header.len(),
            tensor.bytes()
        );
        fs::write(&script, text).map_err(failed("wrk.lua"))?;
        let url = format!("http://127.0.0.1:{}/v2/models/{}/infer", server.http, tensor.name);
        let seconds = format!("{}s", self.duration.ceil());
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c", &clients.to_string(), "-d", &seconds, "-s"]).arg(&script).arg(url);
        let text = output(&mut command)?;
        let rate = text.lines().find_map(|l| l.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
        match rate {
            Some(rate) if !text.contains("Non-2xx") => Ok(rate),
            _ => Err(BenchError::Output { what: "wrk", text }),
        }
    }

    /// Requests a second by h2load.
    fn h2load(&self, server: &Running, tensor: &Shape, clients: u32) -> Result<f64, BenchError> {
        let body = self.work.join("grpc.bin");
        fs::write(&body, grpc_request(tensor)).map_err(failed("grpc.bin"))?;
        let url = format!("http://127.0.0.1:{}/inference.GRPCInferenceService/ModelInfer", server.grpc);
        let mut command = Command::new("h2load");
        command.args(["-t1", "-m1", "-w24", "-W26", "-c", &clients.to_string()]);
        command.args([
            "-D",
            &self.duration.ceil().to_string(),
            "--warm-up-time",
            &self.warmup.ceil().to_string(),
        ]);
        command
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"])
            .arg(&body)
            .arg(url);
        let text = output(&mut command)?;
        let wrong = || BenchError::Output { what: "h2load", text: text.clone() };
        // "finished in 5.00s, 51234.40 req/s, 7.71MB/s"
        let line = text.lines().find(|l| l.starts_with("finished in")).ok_or_else(wrong)?;
        let rate: f64 =
            line.split(", ").nth(1).and_then(|p| p.strip_suffix(" req/s")?.parse().ok()).ok_or_else(wrong)?;
        // A refusal is an answer of status 200, too, but without a tensor.
        let field = |name: &str, after: &str| -> Option<f64> {
            let line = text.lines().find(|l| l.starts_with(name))?;
            let (before, _) = line.split_once(after)?;
            before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let done = field("requests:", " succeeded").ok_or_else(wrong)?;
        let bytes = text
            .lines()
            .find(|l| l.starts_with("traffic:"))
            .and_then(|l| l.rsplit_once(") data")?.0.rsplit_once('(')?.1.parse::<f64>().ok())
            .ok_or_else(wrong)?;
        if bytes < done * tensor.bytes() as f64 {
            return Err(wrong());
        }
        Ok(rate)
    }

    /// Requests a second and the median by perf_analyzer.
    fn perf_analyzer(
        &self,
        program: &Path,
        server: &Running,
        tensor: &Shape,
        protocol: &str,
        clients: u32,
    ) -> Result<Value, BenchError> {
        let table = self.work.join("perf.csv");
        let port = if protocol == "http" { server.http } else { server.grpc };
        // Large tensors need windows with answers in them; on a busy machine no spread is small.
        let window = (self.duration * 1e3).max(2e3).to_string();
        let mut command = Command::new(program);
        command.current_dir(self.work);
        command.args(["-m", tensor.name, "-i", protocol, "-u", &format!("127.0.0.1:{port}")]);
        command.args(["-b", &tensor.rows.to_string(), "--concurrency-range", &clients.to_string()]);
        command.args([
            "--measurement-interval",
            &window,
            "--percentile=50",
            "-s",
            "999",
            "--max-trials",
            "3",
            "-f",
        ]);
        output(command.arg(&table))?;
        let text = fs::read_to_string(&table).map_err(failed("perf_analyzer's table"))?;
        let wrong = || BenchError::Output { what: "perf_analyzer", text: text.clone() };
        let mut lines = text.lines().map(|l| l.split(',').collect::<Vec<_>>());
        let (heading, values) = (lines.next().ok_or_else(wrong)?, lines.next().ok_or_else(wrong)?);
        let column = |name: &str| -> Option<f64> {
            values.get(heading.iter().position(|h| *h == name)?)?.parse().ok()
        };
        let rows = column("Inferences/Second").ok_or_else(wrong)?;
        let micros = column("p50 latency").ok_or_else(wrong)?;
        Ok(json!({ "rps": rows / tensor.rows as f64, "p50_seconds": micros * 1e-6 }))
    }
}

/// A message of gRPC with a ModelInferRequest: zeros for a model of [`super::models`].
fn grpc_request(tensor: &Shape) -> Vec<u8> {
    fn varint(mut n: usize, out: &mut Vec<u8>) {
        while n > 127 {
            out.push(n as u8 | 128);
            n >>= 7;
        }
        out.push(n as u8);
    }
    fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        varint(bytes.len(), out);
        out.extend_from_slice(bytes);
    }
    let (mut shape, mut input, mut request) = (Vec::new(), Vec::new(), Vec::new());
    varint(tensor.rows, &mut shape);
    varint(tensor.width, &mut shape);
    field(1, b"INPUT", &mut input);
    field(2, b"FP32", &mut input);
    field(3, &shape, &mut input);
    field(1, tensor.name.as_bytes(), &mut request);
    field(5, &input, &mut request);
    field(7, &vec![0; tensor.bytes()], &mut request);
    let mut message = vec![0];
    message.extend((request.len() as u32).to_be_bytes());
    message.extend(request);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_message() {
        let message = grpc_request(&Shape { name: "m", rows: 1, width: 1 });
        let expected =
            b"\0\0\0\0\x1c\x0a\x01m\x2a\x11\x0a\x05INPUT\x12\x04FP32\x1a\x02\x01\x01\x3a\x04\0\0\0\0";
        assert_eq!(message, expected);
    }
}
