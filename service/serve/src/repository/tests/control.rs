//! Loading and unloading by clients.

use super::*;

fn plain() -> LoadOverride {
    LoadOverride::default()
}

fn with(config: &str, files: &[(&str, &str)]) -> LoadOverride {
    let files = files.iter().map(|(p, c)| ((*p).to_owned(), Bytes::copy_from_slice(c.as_bytes()))).collect();
    LoadOverride { config: Some(config.to_owned()), files }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_in_explicit_mode() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let poll = ModelControl::Poll { every: Duration::from_secs(3600) };
    for control in [ModelControl::None, poll] {
        let server = start(ServerOptions { control, ..repo.options() }).await;
        let told = "explicit model load / unload is not allowed if polling is enabled".to_owned();
        assert_eq!(error(server.load("", "m", plain()).await), (Code::Unavailable, told.clone()));
        assert_eq!(error(server.unload("", "m").await), (Code::Unavailable, told));
        assert_eq!(ask(&server, "m", "").await.unwrap(), (2, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_come_and_go() {
    let repo = Repo::new();
    repo.version("a/1", "add=1").version("b/1", "add=2");
    let server = start(repo.explicit(&["a", "nowhere"])).await;
    let (lines, reasons) = index(&server, false);
    assert_eq!(lines, ["a/1 READY", "b/ ", "nowhere/ UNAVAILABLE"]);
    assert!(reasons[2].contains("failed to poll from model repository"), "{reasons:?}");
    assert_eq!(error(ask(&server, "b", "").await).1, "Request for unknown model: 'b' is not found");
    server.load("", "b", plain()).await.unwrap();
    assert_eq!(ask(&server, "b", "").await.unwrap(), (3, 1));
    repo.version("late/3", "add=3");
    server.load("", "late", plain()).await.unwrap();
    assert_eq!(ask(&server, "late", "").await.unwrap(), (4, 3));
    for bad in ["never", "", "..", "../a", "a/1", ".git"] {
        let (code, message) = error(server.load("", bad, plain()).await);
        let expected = format!("failed to load '{bad}', failed to poll from model repository");
        assert_eq!((code, message), (Code::Internal, expected));
    }
    server.unload("", "never").await.unwrap();
    server.unload("", "a").await.unwrap();
    assert!(!server.is_model_ready("a", "1"));
    let none = "Request for unknown model: 'a' has no available versions".to_owned();
    assert_eq!(error(ask(&server, "a", "").await), (Code::NotFound, none));
    until("unloaded", || index(&server, false).0.contains(&"a/1 UNAVAILABLE".to_owned())).await;
    assert_eq!(index(&server, false).1[0], "unloaded");
    assert!(server.is_ready());
    server.load("", "a", plain()).await.unwrap();
    assert_eq!(ask(&server, "a", "").await.unwrap(), (2, 1));
    assert_eq!(error(server.load("elsewhere", "a", plain()).await).0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_not_loaded_again() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let loader = Arc::new(Words::default());
    let server = Server::new(repo.explicit(&["*"]), Arc::clone(&loader) as Arc<dyn ModelLoader>);
    server.start().await;
    let loads = || loader.loads.load(std::sync::atomic::Ordering::Relaxed);
    server.load("", "m", plain()).await.unwrap();
    assert_eq!(loads(), 1);
    repo.version("m/1", "add=22");
    server.load("", "m", plain()).await.unwrap();
    assert_eq!((loads(), ask(&server, "m", "").await.unwrap()), (2, (23, 1)));
    server.unload("", "m").await.unwrap();
    server.load("", "m", plain()).await.unwrap();
    assert_eq!(loads(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_configuration_takes_the_place_of_the_files() {
    let repo = Repo::new();
    repo.version("m/1", "add=1").version("m/2", "add=2").config("m", "max_batch_size: 4");
    let server = start(repo.explicit(&["*"])).await;
    let max_batch = || server.model("m", "").unwrap().spec().max_batch;
    assert_eq!((max_batch(), server.versions("m")), (4, vec![2]));
    server.load("", "m", with(r#"{"max_batch_size": 2, "version_policy": {"all": {}}}"#, &[])).await.unwrap();
    assert_eq!((max_batch(), server.versions("m")), (2, vec![1, 2]));
    for bad in ["{", "[]", r#"{"no_such_field": 1}"#] {
        let (code, message) = error(server.load("", "m", with(bad, &[])).await);
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.starts_with("failed to load 'm': config:"), "{message}");
    }
    let (_, message) = error(server.load("", "m", with(r#"{"max_batch_size": -2}"#, &[])).await);
    assert!(message.contains("max_batch_size is -2"), "{message}");
    assert_eq!(max_batch(), 2);
    server.load("", "m", plain()).await.unwrap();
    assert_eq!((max_batch(), server.versions("m")), (4, vec![2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_files_take_the_place_of_the_directory() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let server = start(repo.explicit(&["*"])).await;
    server.load("", "m", with("{}", &[("5/model", "add=50"), ("note.txt", "x")])).await.unwrap();
    assert_eq!(server.versions("m"), [5]);
    assert_eq!(ask(&server, "m", "").await.unwrap(), (51, 5));
    assert!(!repo.path("m/5").exists());
    // A model that lies in no repository.
    server.load("", "guest", with("{}", &[("1/model", "add=7")])).await.unwrap();
    assert_eq!(ask(&server, "guest", "").await.unwrap(), (8, 1));
    for (name, file) in [("m", "../escaped"), ("m", "/escaped"), ("m", "1/../../escaped")] {
        let (code, message) = error(server.load("", name, with("{}", &[(file, "x")])).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
    }
    for name in ["../x", "a/b", ".hidden", ""] {
        assert!(server.load("", name, with("{}", &[("1/model", "add=7")])).await.is_err(), "{name}");
    }
    assert_eq!(ask(&server, "m", "").await.unwrap(), (51, 5));
    server.load("", "m", plain()).await.unwrap();
    assert_eq!((server.versions("m"), ask(&server, "m", "").await.unwrap()), (vec![1], (2, 1)));
    server.unload("", "guest").await.unwrap();
    assert_eq!(error(server.load("", "guest", plain()).await).0, Code::Internal);
}
