//! Versions that are replaced while they are used.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reloading_loses_no_request() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let server = start(repo.explicit(&["*"])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(ask(&server, "m", "").await.unwrap().0);
                }
                answers
            })
        })
        .collect();
    for number in 2..8 {
        // Loading takes its time, and the one that is there answers.
        repo.version("m/1", &format!("sleep=10 add={number}"));
        let load = server.load("", "m", LoadOverride::default());
        tokio::pin!(load);
        tokio::select! {
            biased;
            done = &mut load => done.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(3)) => {
                assert_eq!(index(&server, false).0, ["m/1 READY"]);
                load.await.unwrap();
            }
        }
        assert_eq!(ask(&server, "m", "").await.unwrap().0, number + 1);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let answers = client.await.unwrap();
        // Each from the model of its time: never an older one after a newer one.
        assert!(answers.is_sorted() && !answers.is_empty(), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reload_changes_nothing() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let server = start(repo.explicit(&["*"])).await;
    repo.version("m/2", "nonsense");
    let (code, message) = error(server.load("", "m", LoadOverride::default()).await);
    assert_eq!(
        (code, message),
        (Code::Internal, "failed to load 'm': version 2: 'nonsense' is no word".to_owned())
    );
    assert_eq!(index(&server, false).0, ["m/1 READY", "m/2 UNAVAILABLE"]);
    assert_eq!(ask(&server, "m", "").await.unwrap(), (2, 1));
    repo.version("m/2", "add=2");
    server.load("", "m", LoadOverride::default()).await.unwrap();
    assert_eq!(ask(&server, "m", "").await.unwrap(), (3, 2));
    until("unloaded", || index(&server, false).0 == ["m/1 UNAVAILABLE", "m/2 READY"]).await;
    repo.config("m", "nonsense");
    assert!(server.load("", "m", LoadOverride::default()).await.is_err());
    assert_eq!(ask(&server, "m", "").await.unwrap(), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_answered_after_unloading() {
    let repo = Repo::new();
    repo.version("slow/1", "add=1 hold").file("slow/1/hold", "");
    let server = start(repo.explicit(&["*"])).await;
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { ask(&server, "slow", "").await })
        })
        .collect();
    until("three requests inside", || server.pending() == 3).await;
    server.unload("", "slow").await.unwrap();
    assert!(server.model("slow", "").is_err());
    assert_eq!(index(&server, false).0, ["slow/1 UNLOADING"]);
    fs::remove_file(repo.path("slow/1/hold")).unwrap();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap(), (2, 1));
    }
    until("unloaded", || index(&server, false).0 == ["slow/1 UNAVAILABLE"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_does_not_stop_its_load() {
    let repo = Repo::new();
    let server = start(repo.explicit(&[])).await;
    repo.version("m/1", "sleep=50 add=1");
    let load = server.load("", "m", LoadOverride::default());
    assert!(tokio::time::timeout(Duration::from_millis(20), load).await.is_err());
    until("loaded all the same", || server.is_model_ready("m", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_shows_in_the_index() {
    let repo = Repo::new();
    repo.version("m/1", "sleep=200 add=1");
    let server = Server::new(repo.options(), Arc::new(Words::default()));
    let starting = Arc::clone(&server);
    let started = tokio::spawn(async move { starting.start().await });
    until("loading", || index(&server, false).0 == ["m/1 LOADING"]).await;
    assert!(!server.is_ready());
    assert_eq!(
        error(ask(&server, "m", "").await).1,
        "Request for unknown model: 'm' has no available versions"
    );
    started.await.unwrap();
    assert!(server.is_ready());
    assert_eq!(index(&server, false).0, ["m/1 READY"]);
}
