//! `serve` on emulated cards that fail under load.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use hs_client::{Client, Options, Url};
use hs_runtime::{Buffer, Tensor, npy};
use serde_json::Value;

use crate::{
    digits, fixture,
    rig::{hypersonic, succeed},
};

const LIMIT: Duration = Duration::from_secs(60);
/// More than the slots of both cards.
const CLIENTS: usize = 24;
const MODEL: &str = "digits";

const CONFIG: &str = r#"
backend: "hypersonic"
max_batch_size: 512
parameters { key: "backends" value { string_value: "xrt,emulator" } }
parameters { key: "step_timeout_ms" value { string_value: "400" } }
parameters { key: "start_timeout_ms" value { string_value: "10000" } }
"#;

/// A server with two emulated cards; it ends with this.
struct Server {
    dir: tempfile::TempDir,
    child: Child,
    http: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The bed ends the server when it is asked to end itself.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Server {
    /// None, and it is said why, without XRT.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("models").join(MODEL).join("1");
        fs::create_dir_all(package.parent().unwrap()).unwrap();
        digits(&package);
        fs::write(package.parent().unwrap().join("config.pbtxt"), CONFIG).unwrap();
        succeed(hypersonic().arg("build").arg(&package).args(["--target", "emu", "--cus", "2"]));
        let mut command = hypersonic();
        command.current_dir(dir.path()).args(["xrt-emu", "--devices", "2", "--faults", "faults", "--"]);
        command.arg(assert_cmd::cargo::cargo_bin("hypersonic"));
        command.args(["serve", "--model-repository", "models"]);
        for service in ["http", "grpc", "metrics"] {
            command.args([format!("--{service}-port=0"), format!("--{service}-address=127.0.0.1")]);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                println!("{line}");
                // Nobody listens after the start.
                let _ = tell.send(line);
            }
        });
        let mut server = Self { dir, child, http: String::new() };
        while server.http.is_empty() {
            let Ok(line) = told.recv_timeout(LIMIT) else {
                println!("SKIPPED: the server did not start: see above");
                assert!(no_xrt(), "the server did not start");
                return None;
            };
            if let Some((_, rest)) = line.split_once("Started HTTPService at ") {
                rest.split_whitespace().next().unwrap_or_default().clone_into(&mut server.http);
            }
        }
        Some(server)
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The model as `/v2/hypersonic/backends` shows it.
    fn model(&self) -> Value {
        let all: Value = serde_json::from_str(&self.get("/v2/hypersonic/backends")).unwrap();
        let mut models = all["models"].as_array().unwrap().iter();
        models.find(|m| m["name"] == MODEL).unwrap().clone()
    }

    /// Waits until the cards are in such states.
    fn wait_for(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let cards = self.model()["cards"].as_array().unwrap().clone();
            if holds(&cards) {
                return cards;
            }
            assert!(begin.elapsed() < LIMIT, "{what}: {cards:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn fault(&self, text: &str) {
        // Read at any time: never half of it.
        fs::write(self.at("new"), text).unwrap();
        fs::rename(self.at("new"), self.at("faults")).unwrap();
    }
}

fn no_xrt() -> bool {
    let out = hypersonic().args(["xrt-emu", "--", "true"]).output().unwrap();
    !out.status.success()
}

/// A client that sends rows and compares what comes back, until it is told to stop.
async fn client(
    url: Url,
    x: Tensor,
    y: Tensor,
    number: usize,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) {
    let client = Client::connect(&url, &Options::default()).await.unwrap();
    let metadata = client.metadata(MODEL, None).await.unwrap();
    let (input, output) = (metadata.inputs[0].name.clone(), metadata.outputs[0].name.clone());
    let mut at = number * 131;
    while !stop.load(Ordering::Relaxed) {
        at = at * 1_103_515_245 % 65_521 + number;
        let start = at % (x.rows() - 200);
        let rows = start..start + 1 + at % 200;
        let sent = Buffer::from(x.slice_rows(rows.clone()));
        let found = client.infer(MODEL, None, &[(&input, sent)], &[]).await;
        let found = found.unwrap_or_else(|e| panic!("client {number}, rows {rows:?}: {e}"));
        let found = &found.iter().find(|(name, _)| *name == output).unwrap().1;
        assert_eq!(*found, Buffer::from(y.slice_rows(rows.clone())), "client {number}, rows {rows:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn state(card: &Value) -> &str {
    card["state"].as_str().unwrap()
}

#[test]
fn xrt_cards_that_die_and_hang_under_load_cost_no_request_and_no_bit() {
    let Some(mut server) = Server::new() else { return };
    let model = fixture("digits_mlp", "x.npy");
    let mut emulate = hypersonic();
    emulate.arg("emulate").arg(server.at("models").join(MODEL).join("1")).arg("--input").arg(&model);
    succeed(emulate.arg("--output").arg(server.at("y.npy")));
    let (x, y) = (npy::load(model).unwrap(), npy::load(server.at("y.npy")).unwrap());

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let url: Url = format!("http://{}", server.http).parse().unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            runtime.spawn(client(url.clone(), x.clone(), y.clone(), n, stop, answers))
        })
        .collect();
    let more_answers = || {
        let (begin, before) = (Instant::now(), answers.load(Ordering::Relaxed));
        while answers.load(Ordering::Relaxed) < before + 2 * CLIENTS {
            assert!(begin.elapsed() < LIMIT && !clients.iter().any(|c| c.is_finished()), "a client gave up");
            thread::sleep(Duration::from_millis(5));
        }
    };
    let computes = |cards: &[Value]| cards.iter().all(|c| c["rows"].as_u64().unwrap() > 0);

    server.wait_for("both cards compute", computes);
    more_answers();
    server.fault("0 hang\n");
    server.wait_for("the first hangs", |cards| state(&cards[0]) != "working");
    more_answers();
    server.fault("0 hang\n1 crash\n");
    server.wait_for("the second dies too", |cards| cards.iter().all(|c| state(c) != "working"));
    // Only the emulator is left.
    more_answers();
    server.fault("");
    let mended = server.wait_for("both work again", |cards| cards.iter().all(|c| state(c) == "working"));
    assert!(mended.iter().all(|c| c["restarts"].as_u64().unwrap() > 0), "{mended:#?}");
    let rows: Vec<u64> = mended.iter().map(|c| c["rows"].as_u64().unwrap()).collect();
    server.wait_for("both compute again", |cards| {
        cards.iter().zip(&rows).all(|(c, before)| c["rows"].as_u64().unwrap() > *before)
    });
    more_answers();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        runtime.block_on(client).unwrap();
    }
    assert!(server.child.try_wait().unwrap().is_none(), "the server is gone");
    assert!(server.model()["backends"].as_array().unwrap().iter().all(|b| b["healthy"] == true));
}

#[test]
fn xrt_cards_that_skip_a_run_do_not_answer_with_the_rows_before() {
    let Some(server) = Server::new() else { return };
    let model = fixture("digits_mlp", "x.npy");
    let mut emulate = hypersonic();
    emulate.arg("emulate").arg(server.at("models").join(MODEL).join("1")).arg("--input").arg(&model);
    succeed(emulate.arg("--output").arg(server.at("y.npy")));
    let (x, y) = (npy::load(model).unwrap(), npy::load(server.at("y.npy")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url: Url = format!("http://{}", server.http).parse().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&url, &Options::default()).await.unwrap();
        let metadata = client.metadata(MODEL, None).await.unwrap();
        let input = metadata.inputs[0].name.clone();
        // One request after another, of as many rows each: all of them come into the same slots.
        for (number, start) in (0..60).step_by(5).enumerate() {
            if number == 6 {
                server.fault("* skip\n");
            }
            let rows = start..start + 5;
            let sent = Buffer::from(x.slice_rows(rows.clone()));
            let found = client.infer(MODEL, None, &[(&input, sent)], &[]).await.unwrap();
            assert_eq!(found[0].1, Buffer::from(y.slice_rows(rows.clone())), "rows {rows:?}");
        }
    });
    let cards =
        server.wait_for("faults are seen", |cards| cards.iter().any(|c| c["faults"].as_u64().unwrap() > 0));
    assert!(cards.iter().all(|c| c["rows"].as_u64().unwrap() <= 30), "{cards:#?}");
}

#[test]
fn xrt_cards_are_on_the_page() {
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    let mut chromium = Command::new("chromium");
    chromium.args(flags).args(["--virtual-time-budget=5000", "--dump-dom"]);
    if let Err(e) = Command::new("chromium").arg("--version").output() {
        println!("SKIPPED: chromium: {e} (scripts/setup --test)");
        return;
    }
    let Some(server) = Server::new() else { return };
    let profile = format!("--user-data-dir={}", server.at("browser").display());
    let out = chromium.arg(profile).arg(format!("http://{}/", server.http)).output().unwrap();
    let page = String::from_utf8_lossy(&out.stdout);
    for words in ["card 0", "card 1", "working", "2 compute units of 4 slots, 0 launches, 0 rows inside"] {
        assert!(page.contains(words), "'{words}' is not on the page: {page}");
    }
}
