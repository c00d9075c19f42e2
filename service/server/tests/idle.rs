//! Many connections that do nothing: a test on its own, as it measures the memory of its process.

#![allow(clippy::print_stdout, reason = "two processes talk, and a measurement is printed")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use axum::{Router, routing::get as get_route};
use hs_server::net::Options;
use tokio::time::timeout;

#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;

use support::{Port, get};

/// Tells the other process where to connect to, and how often.
const TARGET: &str = "HYPERSONIC_TEST_IDLE";

const CONNECTIONS: usize = 10_000;

/// Most bytes of resident memory that an idle connection may cost.
const MOST: usize = 16 << 10;

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn file_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

/// Each process has a limit of open files, so that the clients need one of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections() {
    if let Ok(target) = std::env::var(TARGET) {
        return clients(&target).await;
    }
    let count = CONNECTIONS.min(file_limit().saturating_sub(200));
    assert!(count >= 500, "raise the limit of open files");
    let port = Port::start(Router::new().route("/", get_route(async || "hello")), Options::default());
    assert_eq!(port.get("/").await.status, 200);
    let before = resident();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ten_thousand_idle_connections", "--nocapture"])
        .env(TARGET, format!("{} {count}", port.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = tokio::task::spawn_blocking(move || lines.any(|l| l.unwrap().contains("all connected")));
    assert!(ready.await.unwrap(), "the clients could not connect");
    let each = resident().saturating_sub(before) / count;
    println!("{count} idle connections, {each} bytes each");
    assert!(each < MOST, "{each} bytes a connection");
    let answer =
        timeout(Duration::from_secs(1), port.get("/")).await.expect("the server is busy with idling");
    assert_eq!(answer.status, 200);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(port.stop().await, 0);
}

/// Connects, sends a request on every second connection, and keeps all until standard input ends.
async fn clients(target: &str) {
    let (address, count) = target.split_once(' ').unwrap();
    let mut all = Vec::new();
    for n in 0..count.parse().unwrap() {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            assert_eq!(get(&mut stream, "/", "").await.status, 200);
        }
        all.push(stream);
    }
    println!("all connected");
    let mut rest = String::new();
    let _ = std::io::stdin().read_line(&mut rest);
}
