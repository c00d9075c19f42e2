//! `infer`, `bench` and `golden verify` against `serve`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use hs_runtime::{Tensor, npy, npz};
use serde_json::json;

use crate::{MLP, listing, load, run};

/// A server of the models in its folder, on ports of its own.
pub(crate) struct Server {
    child: Child,
    dir: tempfile::TempDir,
    http: String,
    grpc: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn identity(name: &str, max_batch: u32, tensors: &[(&str, &str, &str, &str)]) -> (String, String) {
    let mut config = format!("name: \"{name}\"\nbackend: \"identity\"\nmax_batch_size: {max_batch}\n");
    for (input, output, datatype, dims) in tensors {
        for (kind, tensor) in [("input", input), ("output", output)] {
            config.push_str(&format!(
                "{kind} {{ name: \"{tensor}\" data_type: TYPE_{datatype} dims: [{dims}] }}\n"
            ));
        }
    }
    (name.to_owned(), config)
}

impl Server {
    /// Serves what `fill` puts into the repository.
    pub(crate) fn new(fill: impl FnOnce(&Path), flags: &[&std::ffi::OsStr], tls: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("models");
        fs::create_dir(&repository).unwrap();
        fill(&repository);
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("hypersonic"));
        command.arg("serve").arg("--model-repository").arg(&repository).args(flags);
        for service in ["http", "grpc", "metrics"] {
            command.args([format!("--{service}-port=0"), format!("--{service}-address=127.0.0.1")]);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                // Nobody listens after the start; the server must not wait for that.
                let _ = tell.send(line);
            }
        });
        let (mut http, mut grpc) = (None, None);
        let mut seen = String::new();
        while http.is_none() || grpc.is_none() {
            let line = told.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|e| panic!("{e}\n{seen}"));
            let address = |service: &str| {
                Some(
                    line.split_once(&format!("Started {service} at "))?
                        .1
                        .split_whitespace()
                        .next()?
                        .to_owned(),
                )
            };
            http = http.or(address("HTTPService"));
            grpc = grpc.or(address("GRPCInferenceService"));
            seen.push_str(&line);
            seen.push('\n');
        }
        let url = |scheme: &str, address: Option<String>| format!("{scheme}{tls}://{}", address.unwrap());
        Self { child, dir, http: url("http", http), grpc: url("grpc", grpc) }
    }

    fn identities(models: &[(String, String)]) -> Self {
        Self::new(|repository| write(repository, models), &[], "")
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Over HTTP and over gRPC.
    pub(crate) fn urls(&self) -> [&str; 2] {
        [&self.http, &self.grpc]
    }
}

fn write(repository: &Path, models: &[(String, String)]) {
    for (name, config) in models {
        fs::create_dir_all(repository.join(name).join("1")).unwrap();
        fs::write(repository.join(name).join("config.pbtxt"), config).unwrap();
    }
}

fn rows(n: usize, width: usize) -> Tensor {
    Tensor::of([n, width], (0..n * width).map(|i| i as f32 / 8.0).collect()).unwrap()
}

#[test]
fn rows_are_spread_over_requests_and_joined() {
    let server = Server::identities(&[identity("jets", 8, &[("X", "Y", "FP32", "4")])]);
    let x = rows(20, 4);
    npy::save(server.path().join("X.npy"), &x).unwrap();
    for url in server.urls() {
        let run = run!(
            server.path(),
            "infer",
            url,
            "--model",
            "jets",
            "--input",
            "X.npy",
            "--output",
            "Y.npy",
            "--json"
        );
        let json = run.ok().json();
        assert_eq!((&json["rows"], &json["requests"]), (&json!(20), &json!(3)), "{json}");
        assert_eq!(load(server.path().join("Y.npy")), x);
        fs::remove_file(server.path().join("Y.npy")).unwrap();
        let run = run!(
            server.path(),
            "infer",
            "--url",
            url,
            "--model",
            "jets",
            "--version",
            "1",
            "--batch",
            "3",
            "--input",
            "X=X.npy",
            "--output",
            "Y=Y.npy",
        );
        let text = run.ok().stdout;
        assert!(text.starts_with("20 rows in ") && text.contains("7 requests: Y.npy"), "{text}");
        assert_eq!(load(server.path().join("Y.npy")), x);
    }
}

#[test]
fn several_tensors_of_several_types() {
    let pair = [("A", "C", "INT16", "2"), ("B", "D", "FP16", "-1")];
    let server = Server::identities(&[
        identity("pair", 0, &pair),
        identity("words", 0, &[("W", "S", "STRING", "-1")]),
    ]);
    let at = |name: &str| server.path().join(name);
    let a = Tensor::of([2], vec![-3i16, 300]).unwrap();
    let b = Tensor::of([3], vec![0.5f64, 2.0, -1.0]).unwrap();
    npz::save(at("in.npz"), [("A", &a), ("B", &b)]).unwrap();
    for url in server.urls() {
        run!(server.path(), "infer", url, "--model", "pair", "--input", "in.npz", "--output", "out.npz").ok();
        let out = npz::load(at("out.npz")).unwrap();
        assert_eq!((out[0].0.as_str(), &out[0].1), ("C", &a));
        assert_eq!((out[1].0.as_str(), out[1].1.dtype()), ("D", hs_runtime::Dtype::F16));
        assert_eq!(out[1].1.to_f64(), [0.5, 2.0, -1.0]);
        // One of the outputs.
        run!(server.path(), "infer", url, "--model", "pair", "--input", "in.npz", "--output", "D=D.npy").ok();
        assert_eq!(load(at("D.npy")), out[1].1);
        fs::remove_file(at("D.npy")).unwrap();
        let words =
            run!(server.path(), "infer", url, "--model", "words", "--input", "in.npz", "--output", "S.npy");
        assert_eq!(words.code, 3);
        assert!(
            words.stderr.contains("output 'S' has BYTES, which no .npy of numbers holds"),
            "{}",
            words.stderr
        );
    }
}

#[test]
fn a_served_package_gives_the_emulators_bits() {
    let fill = |repository: &Path| {
        fs::create_dir(repository.join("digits")).unwrap();
        run!(repository, "compile", MLP.onnx(), "-o", "digits/1", "--precision", "fixed<16,6>").ok();
    };
    let server = Server::new(fill, &[], "");
    run!(server.path(), "emulate", "models/digits/1", "--input", MLP.x(), "--output", "E.npy").ok();
    for url in server.urls() {
        run!(server.path(), "infer", url, "--model", "digits", "--input", MLP.x(), "--output", "Y.npy").ok();
        assert_eq!(load(server.path().join("Y.npy")), load(server.path().join("E.npy")), "{url}");
    }
}

#[test]
fn without_xrt_the_emulator_serves_what_cards_would() {
    if std::env::var_os("XILINX_XRT").is_some() {
        println!("SKIPPED: XILINX_XRT is set, and cards may be found");
        return;
    }
    let fill = |repository: &Path| {
        fs::create_dir(repository.join("digits")).unwrap();
        run!(repository, "compile", MLP.onnx(), "-o", "digits/1", "--precision", "fixed<16,6>").ok();
        let both = r#"parameters { key: "backends" value { string_value: "xrt,emulator" } }"#;
        fs::write(repository.join("digits/config.pbtxt"), both).unwrap();
    };
    let server = Server::new(fill, &[], "");
    run!(server.path(), "emulate", "models/digits/1", "--input", MLP.x(), "--output", "E.npy").ok();
    for url in server.urls() {
        run!(server.path(), "infer", url, "--model", "digits", "--input", MLP.x(), "--output", "Y.npy").ok();
        assert_eq!(load(server.path().join("Y.npy")), load(server.path().join("E.npy")), "{url}");
    }
    let run = run!(server.path(), "run", "models/digits/1", "--input", MLP.x(), "--output", "R.npy");
    assert!(run.code != 0 && run.stderr.contains("XILINX_XRT is not set"), "{}: {}", run.code, run.stderr);
}

#[test]
fn golden_vectors_are_verified_against_a_server() {
    let raw = r#"parameters { key: "raw" value { string_value: "true" } }"#;
    // 'wide' has results of 30 bits, more than a float holds.
    let fill = |repository: &Path| {
        for (model, precision) in
            [("plain", "fixed<16,6>"), ("digits", "fixed<16,6>"), ("wide", "fixed<30,10>")]
        {
            fs::create_dir(repository.join(model)).unwrap();
            run!(repository, "compile", MLP.onnx(), "-o", format!("{model}/1"), "--precision", precision)
                .ok();
        }
        fs::write(repository.join("digits/config.pbtxt"), raw).unwrap();
    };
    let server = Server::new(fill, &[], "");
    let dir = server.path();
    let input = MLP.x();
    run!(dir, "golden", "write", "models/digits/1", "--input", input, "--rows", "300", "-o", "g.npz").ok();
    run!(dir, "golden", "write", "models/digits/1", "--rows", "40", "-o", "random.npz").ok();
    run!(dir, "golden", "write", "models/wide/1", "--rows", "4", "-o", "wide.npz").ok();
    fs::copy(dir.join("random.npz"), dir.join("wrong.npz")).unwrap();
    crate::golden::falsify(&dir.join("wrong.npz"));
    let verify = |url: &str, more: &[&str]| {
        crate::hypersonic(dir, &[&["golden", "verify", "--url", url, "--model"], more].concat())
    };
    for url in server.urls() {
        let json = verify(url, &["digits", "g.npz", "--json"]).ok().json();
        assert_eq!((&json["rows"], &json["model"]), (&json!(300), &json!("digits")));
        let checks = |json: &serde_json::Value| -> Vec<(String, u64, u64)> {
            let number = |c: &serde_json::Value, key: &str| c[key].as_u64().unwrap();
            let one = |c: &serde_json::Value| {
                (c["by"].as_str().unwrap().to_owned(), number(c, "values"), number(c, "mismatches"))
            };
            json["checks"].as_array().unwrap().iter().map(one).collect()
        };
        let (values, codes) = ("served values".to_owned(), "served codes".to_owned());
        assert_eq!(checks(&json), [(values.clone(), 3000, 0), (codes.clone(), 3000, 0)]);
        // Without codes; rows that came as codes; codes alone.
        let json = verify(url, &["plain", "random.npz", "--json"]).ok().json();
        assert_eq!(checks(&json), [(values.clone(), 400, 0)]);
        let json = verify(url, &["digits_raw", "random.npz", "--json"]).ok().json();
        assert_eq!(checks(&json), [(codes.clone(), 400, 0)]);

        // Other bits: the answers are compared, and differ.
        let wrong = verify(url, &["digits", "wrong.npz"]);
        assert_eq!(wrong.code, 1, "{}", wrong.stderr);
        assert_eq!(wrong.stdout.matches("1 of 400 codes differ").count(), 2, "{}", wrong.stdout);
        assert_eq!(wrong.stdout.matches("row 3, element 7").count(), 2, "{}", wrong.stdout);

        let refused = verify(url, &["wide", "wide.npz"]);
        assert_eq!(refused.code, 3, "{}", refused.stdout);
        for part in ["fixed<30,10>", "FP32 does not hold", "help:", "key: \"raw\""] {
            assert!(refused.stderr.contains(part), "'{part}' is not in: {}", refused.stderr);
        }
        assert_eq!(verify(url, &["nobody", "g.npz"]).code, 3);
        assert_eq!(verify(url, &["digits", "absent.npz"]).code, 3);
        for more in
            [&["digits", "models/digits/1", "g.npz"][..], &["digits", "g.npz", "--precision", "fixed<16,6>"]]
        {
            let run = verify(url, more);
            assert_eq!(run.code, 2, "{more:?}: {}", run.stderr);
        }
    }
    assert_eq!(run!(dir, "golden", "verify", "--model", "digits", "g.npz").code, 2);
    assert_eq!(run!(dir, "golden", "verify", "g.npz").code, 2);
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_sent() {
    let server = Server::identities(&[
        identity("jets", 8, &[("X", "Y", "FP32", "4")]),
        identity("one", 0, &[("X", "Y", "INT8", "4")]),
    ]);
    let at = |name: &str| server.path().join(name);
    npy::save(at("X.npy"), &rows(20, 4)).unwrap();
    npy::save(at("wide.npy"), &rows(20, 5)).unwrap();
    npy::save(at("row.npy"), &Tensor::of([4], vec![0f32; 4]).unwrap()).unwrap();
    npy::save(at("none.npy"), &rows(0, 4)).unwrap();
    npy::save(at("fine.npy"), &Tensor::of([1, 4], vec![0.1f64; 4]).unwrap()).unwrap();
    npy::save(at("big.npy"), &Tensor::of([4], vec![1, 2, 3, 300]).unwrap()).unwrap();
    let before = listing(server.path());
    for url in server.urls() {
        for (args, code, part) in [
            (vec!["--model", "nobody", "--input", "X.npy"], 3, "'nobody'"),
            (vec!["--model", "jets", "--version", "7", "--input", "X.npy"], 3, "version 7"),
            (
                vec!["--model", "jets", "--input", "wide.npy"],
                3,
                "input 'X' of model 'jets' has shape [-1, 4], but [20, 5] is given",
            ),
            (vec!["--model", "jets", "--input", "row.npy"], 3, "one row has shape [1, 4]"),
            (vec!["--model", "jets", "--input", "none.npy"], 3, "no rows"),
            (
                vec!["--model", "jets", "--input", "fine.npy"],
                3,
                "element 0 is 0.1, which is no FP32\n  help: --cast",
            ),
            (vec!["--model", "one", "--input", "big.npy"], 3, "element 3 is 300, which is no INT8"),
            (vec!["--model", "jets", "--input", "X.npy", "--batch", "9"], 2, "takes 8 rows at most"),
            (vec!["--model", "one", "--input", "big.npy", "--cast", "--batch", "1"], 3, "which is no INT8"),
            (vec!["--model", "one", "--input", "row.npy", "--batch", "1"], 2, "no batches"),
        ] {
            let args = [&["infer", url, "--output", "Y.npy"], args.as_slice()].concat();
            let run = crate::hypersonic(server.path(), &args);
            assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
            assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
            assert_eq!(run.stderr.matches("error:").count(), 1, "{}", run.stderr);
        }
        assert_eq!(listing(server.path()), before);
        run!(
            server.path(),
            "infer",
            url,
            "--model",
            "jets",
            "--input",
            "fine.npy",
            "--output",
            "Y.npy",
            "--cast"
        )
        .ok();
        assert_eq!(load(at("Y.npy")), Tensor::of([1, 4], vec![0.1f32; 4]).unwrap());
        fs::remove_file(at("Y.npy")).unwrap();
    }
}

#[test]
fn a_server_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    npy::save(dir.path().join("X.npy"), &rows(1, 1)).unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, code, part) in [
        (format!("grpc://{nobody}"), 4, "cannot connect to grpc://127.0.0.1"),
        (format!("http://{nobody}"), 4, "is the server running"),
        ("localhost:8000".to_owned(), 2, "write http://HOST:PORT"),
        ("ftp://localhost".to_owned(), 2, "expected http, https, grpc or grpcs"),
    ] {
        let infer = ["infer", &url, "--model", "m", "--input", "X.npy", "--output", "Y.npy"];
        let bench = ["bench", "--url", &url, "--model", "m"];
        for args in [&infer[..], &bench] {
            let run = crate::hypersonic(dir.path(), args);
            assert_eq!(run.code, code, "{}", run.stderr);
            assert!(run.stderr.contains(part), "{}", run.stderr);
        }
    }
    assert_eq!(listing(dir.path()), ["X.npy"]);
}

#[test]
fn certificates_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let openssl = |args: &str| {
        let out = Command::new("openssl").args(args.split(' ')).current_dir(dir.path()).output();
        let Ok(out) = out else { return false };
        assert!(out.status.success(), "{args}: {}", String::from_utf8_lossy(&out.stderr));
        true
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc";
    if !openssl(&format!(
        "req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE"
    )) {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
        openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        let extensions = format!("subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n");
        fs::write(at("extensions"), extensions).unwrap();
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
    }
    fs::write(at("tokens"), "first\nsecond\n").unwrap();
    fs::write(at("mine"), "second\n").unwrap();
    fs::write(at("wrong"), "third\n").unwrap();
    npy::save(at("X.npy"), &rows(3, 4)).unwrap();
    let files = ["server.pem", "server.key", "ca.pem", "tokens"].map(at);
    let flags = ["--tls-cert", "--tls-key", "--tls-client-ca", "--auth-tokens"];
    let flags: Vec<_> = flags.iter().zip(&files).flat_map(|(f, p)| [f.as_ref(), p.as_os_str()]).collect();
    let model = identity("jets", 8, &[("X", "Y", "FP32", "4")]);
    let server = Server::new(|repository| write(repository, &[model]), &flags, "s");
    for url in server.urls() {
        let infer = |more: &str| {
            let args = format!("infer {url} --model jets --input X.npy --output Y.npy --timeout 20 {more}");
            crate::hypersonic(dir.path(), &args.split_whitespace().collect::<Vec<_>>())
        };
        infer("--ca ca.pem --cert client.pem --key client.key --token-file mine").ok();
        assert_eq!(load(at("Y.npy")), rows(3, 4));
        fs::remove_file(at("Y.npy")).unwrap();
        for (more, code, part) in [
            ("--ca ca.pem --cert client.pem --key client.key --token-file wrong", 3, "the server answered "),
            ("--ca ca.pem --cert client.pem --key client.key", 3, "the server answered "),
            ("--ca ca.pem --token-file mine", 4, ""),
            ("--ca server.key --token-file mine", 3, "server.key: "),
            ("--ca ca.pem --cert client.pem", 2, "--key"),
            ("--cert client.pem --key client.key --token-file mine", 4, "cannot connect to "),
            ("--token-file none", 3, "none: "),
        ] {
            let run = infer(more);
            assert_eq!(run.code, code, "{url} {more}: {}", run.stderr);
            assert!(run.stderr.contains(part), "{url} {more}: {}", run.stderr);
        }
        let plain = url.replace("s://", "://");
        let run = run!(
            dir.path(),
            "infer",
            plain,
            "--model",
            "jets",
            "--input",
            "X.npy",
            "--output",
            "Y.npy",
            "--ca",
            "ca.pem"
        );
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("s://"), "{}", run.stderr);
    }
}

#[test]
fn a_bench_measures_loops_of_both_kinds() {
    let models = [
        identity("jets", 8, &[("X", "Y", "FP32", "4")]),
        identity("any", 0, &[("A", "B", "INT64", "-1, 3")]),
    ];
    let server = Server::identities(&models);
    let quick = ["--duration", "0.3", "--warmup", "0.05", "--json"];
    for url in server.urls() {
        let bench = |more: &[&str]| {
            let run =
                crate::hypersonic(server.path(), &[&["bench", "--url", url], &quick[..], more].concat());
            (run.code, run.json())
        };
        let (code, json) =
            bench(&["--model", "jets", "--concurrency", "1,3", "--batch", "8", "--svg", "l.svg"]);
        assert_eq!((code, &json["batch"]), (0, &json!(8)), "{json}");
        let levels = json["levels"].as_array().unwrap();
        assert_eq!(levels.iter().map(|l| l["clients"].clone()).collect::<Vec<_>>(), [json!(1), json!(3)]);
        for level in levels {
            assert_eq!((&level["failed"], &level["seconds"]), (&json!(0), &json!(0.3)), "{json}");
            let (requests, sent) = (level["requests"].as_u64().unwrap(), level["sent"].as_u64().unwrap());
            assert!(requests > 0 && requests <= sent, "{level}");
            assert_eq!(level["requests_per_second"], json!(requests as f64 / 0.3));
            let latency = |q: &str| level["latency_seconds"][q].as_f64().unwrap();
            assert!(
                latency("p50") > 0.0 && latency("p50") <= latency("p99") && latency("p99") <= latency("max")
            );
        }
        let svg = fs::read_to_string(server.path().join("l.svg")).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.matches("<path").count() > 5 && svg.contains("jets"),
            "{svg}"
        );

        let (code, json) =
            bench(&["--model", "any", "--shape", "A:5,3", "--rate", "50", "--arrival", "constant"]);
        let level = &json["levels"][0];
        assert_eq!(
            (code, &json["batch"], &level["rate"], &level["requests"]),
            (0, &json!(null), &json!(50.0), &json!(15)),
            "{json}"
        );
        assert!(level["lateness_seconds"]["max"].as_f64().unwrap() > 0.0);

        for (more, code, part) in [
            (vec!["--model", "any"], 2, "--shape A:D1,D2"),
            (vec!["--model", "any", "--shape", "Z:1,3"], 2, "no input 'Z'"),
            (vec!["--model", "any", "--shape", "A:1,x"], 2, "expected NAME:D1,D2"),
            (vec!["--model", "any", "--shape", "A:1,4"], 3, "[1, 4] is given"),
            (vec!["--model", "any", "--batch", "2", "--shape", "A:1,3"], 2, "no batches"),
            (vec!["--model", "jets", "--batch", "9"], 2, "8 rows at most"),
            (vec!["--model", "nobody"], 3, "'nobody'"),
            (vec!["--model", "jets", "--rate", "1", "--concurrency", "1"], 2, "cannot be used with"),
            (vec!["--model", "jets", "--concurrency", "0"], 2, "0"),
        ] {
            let (found, json) = bench(&more);
            assert_eq!(found, code, "{more:?}: {json}");
            assert!(json.to_string().contains(part), "{more:?}: {json}");
        }
    }
    npy::save(server.path().join("X.npy"), &rows(20, 4)).unwrap();
    let text = run!(
        server.path(),
        "bench",
        "--url",
        server.grpc,
        "--model",
        "jets",
        "--input",
        "X.npy",
        "--batch",
        "4",
        "--duration",
        "0.2",
        "--warmup",
        "0.05",
    );
    let text = text.ok().stdout;
    assert!(text.contains("clients  requests/s  rows/s  mean ms  p50 ms"), "{text}");
}
