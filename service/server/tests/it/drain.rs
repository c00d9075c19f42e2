//! Ports that stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Extension, Router, routing::get as get_route};
use hs_server::net::{Options, Peer};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use crate::support::{Port, answer, closed, get, h2, h2_get, h2_send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_taken_are_answered() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let slow = move || {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(20)).await;
            "done"
        }
    };
    let port = Port::start(Router::new().route("/", get_route(slow)), Options::default());
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = h2(port.connect().await).await;
        for _ in 0..8 {
            let mut client = client.clone();
            clients.push(tokio::spawn(async move {
                let mut answered = 0;
                while let Ok((response, body)) = h2_send(&mut client, h2_get("/")).await {
                    assert_eq!((response.status().as_u16(), &body[..]), (200, &b"done"[..]));
                    answered += 1;
                }
                answered
            }));
        }
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(port.stop().await, 0);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert!(answered > 32, "{answered}");
    assert_eq!(answered, taken.load(Ordering::SeqCst));
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let port = Port::start(Router::new().route("/", get_route(async || "hello")), Options::default());
    let mut first = port.connect().await;
    assert_eq!(get(&mut first, "/", "").await.body, "hello");
    let mut second = h2(port.connect().await).await;
    assert_eq!(h2_send(&mut second, h2_get("/")).await.unwrap().1, "hello");
    let mut silent = port.connect().await;
    let address = port.address;
    let began = Instant::now();
    assert_eq!(port.stop().await, 0);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(closed(&mut first).await < Duration::from_millis(100));
    assert!(closed(&mut silent).await < Duration::from_millis(100));
    assert!(h2_send(&mut second, h2_get("/")).await.is_err());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_does_not_end_is_cut() {
    let forever = get_route(async || -> &'static str { std::future::pending().await });
    let options = Options { drain_timeout: Duration::from_millis(200), ..Options::default() };
    let port = Port::start(Router::new().route("/", forever), options);
    let mut stuck = port.connect().await;
    stuck.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut client = h2(port.connect().await).await;
    let other = tokio::spawn(async move { h2_send(&mut client, h2_get("/")).await.is_err() });
    sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    assert_eq!(port.stop().await, 2);
    let took = began.elapsed();
    assert!(Duration::from_millis(200) <= took && took < Duration::from_secs(1), "{took:?}");
    closed(&mut stuck).await;
    assert!(other.await.unwrap());
}

#[tokio::test]
async fn handlers_learn_of_it() {
    let until = get_route(async |Extension(peer): Extension<Peer>| {
        peer.draining().await;
        "the end"
    });
    let port = Port::start(Router::new().route("/", until), Options::default());
    let mut stream = port.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(port.stop().await, 0);
    assert_eq!(answer(&mut stream).await.body, "the end");
}

#[tokio::test]
async fn a_client_that_goes_takes_its_work_along() {
    struct Running(Arc<AtomicUsize>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let running = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&running);
    let forever = get_route(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let guard = Running(Arc::clone(&count));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
        }
    });
    let port = Port::start(Router::new().route("/", forever), Options::default());
    let mut first = port.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut client = h2(port.connect().await).await;
    let second = tokio::spawn(async move { h2_send(&mut client, h2_get("/")).await.is_ok() });
    let reaches = async |expected| {
        let began = Instant::now();
        while running.load(Ordering::SeqCst) != expected {
            assert!(began.elapsed() < Duration::from_secs(5), "not {expected}");
            sleep(Duration::from_millis(5)).await;
        }
    };
    reaches(2).await;
    drop(first);
    reaches(1).await;
    second.abort();
    reaches(0).await;
}
