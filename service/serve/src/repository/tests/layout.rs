//! What lies in a repository and what becomes of it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_model_stops_no_other() {
    let repo = Repo::new();
    repo.version("good/1", "add=10").version("bad/1", "nonsense").version("panics/1", "panic");
    repo.file("empty/readme", "").file("README.md", "").file(".hidden/1/model", "add=1");
    repo.version("misspelt/1", "add=1").config("misspelt", "max_batch: 1");
    repo.version("contradicts/1", "add=1").config("contradicts", r#"input { name: "q" }"#);
    let server = repo.serve().await;
    assert_eq!(ask(&server, "good", "").await.unwrap(), (11, 1));
    assert_eq!(ask(&server, "good", "1").await.unwrap(), (11, 1));
    assert!(server.is_ready());
    let (lines, reasons) = index(&server, false);
    let expected = [
        "bad/1 UNAVAILABLE",
        "contradicts/1 UNAVAILABLE",
        "empty/ UNAVAILABLE",
        "good/1 READY",
        "misspelt/ UNAVAILABLE",
        "panics/1 UNAVAILABLE",
    ];
    assert_eq!(lines, expected);
    let parts = ["'nonsense' is no word", "input 'q'", "has no version", "", "max_batch", "as its file says"];
    for (reason, part) in reasons.iter().zip(parts) {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(index(&server, true).0, ["good/1 READY"]);
    for name in ["bad", "empty", "misspelt", "panics"] {
        let none = format!("Request for unknown model: '{name}' has no available versions");
        assert_eq!(error(ask(&server, name, "").await), (Code::NotFound, none));
    }
    let strict = start(ServerOptions { strict_readiness: true, ..repo.options() }).await;
    assert!(!strict.is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_by_number_and_policy() {
    let repo = Repo::new();
    for version in [1, 2, 10] {
        repo.version(&format!("newest/{version}"), &format!("add={version}"));
        repo.version(&format!("all/{version}"), &format!("add={version}"));
        repo.version(&format!("some/{version}"), &format!("add={version}"));
    }
    repo.version("newest/011", "nonsense").version("newest/0", "nonsense").version("newest/x", "nonsense");
    repo.config("all", "version_policy { all {} }");
    repo.config("some", "version_policy { specific { versions: [1, 2, 3] } }").version("some/2", "nonsense");
    let server = repo.serve().await;
    assert_eq!(ask(&server, "newest", "").await.unwrap(), (11, 10));
    assert_eq!(ask(&server, "all", "").await.unwrap(), (11, 10));
    assert_eq!(ask(&server, "all", "2").await.unwrap(), (3, 2));
    assert_eq!(ask(&server, "all", "002").await.unwrap(), (3, 2));
    assert_eq!(ask(&server, "some", "").await.unwrap(), (2, 1));
    assert_eq!(server.versions("all"), [1, 2, 10]);
    let entries = server.index("", false).unwrap();
    let missing = entries.iter().find(|e| e.name == "some" && e.version == "3").unwrap();
    assert_eq!(missing.state, "UNAVAILABLE");
    assert!(missing.reason.contains("no directory some/3"), "{}", missing.reason);
    let told = |what: &str| (Code::NotFound, format!("Request for unknown model: {what}"));
    assert_eq!(error(ask(&server, "newest", "2").await), told("'newest' version 2 is not found"));
    assert_eq!(error(ask(&server, "some", "2").await), told("'some' version 2 is not at ready state"));
    assert_eq!(error(ask(&server, "none", "").await), told("'none' is not found"));
    assert_eq!(error(ask(&server, "none", "7").await), told("'none' version 7 is not found"));
    for bad in ["abc", "-1", "+1", "1.0", " 1", "99999999999999999999"] {
        let (code, message) = error(ask(&server, "all", bad).await);
        assert_eq!(code, Code::InvalidArgument, "{bad}");
        let start = format!("failed to get model version from specified version string '{bad}'");
        assert!(message.starts_with(&start), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_any_directorys() {
    let repo = Repo::new();
    for name in ["with space", "ünï-cødé", "a.b", "stats", "%2e"] {
        repo.version(&format!("{name}/1"), "add=1");
    }
    let server = repo.serve().await;
    for name in ["with space", "ünï-cødé", "a.b", "stats", "%2e"] {
        assert_eq!(ask(&server, name, "").await.unwrap(), (2, 1), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_repositories() {
    let (first, second) = (Repo::new(), Repo::new());
    first.version("a/1", "add=1").version("twice/1", "add=1");
    second.version("b/1", "add=2").version("twice/1", "add=2");
    let repositories = vec![first.0.path().to_owned(), second.0.path().to_owned()];
    let server = start(ServerOptions { repositories, ..first.options() }).await;
    assert_eq!((ask(&server, "a", "").await.unwrap().0, ask(&server, "b", "").await.unwrap().0), (2, 3));
    let (lines, reasons) = index(&server, false);
    assert_eq!(lines, ["a/1 READY", "b/1 READY", "twice/ UNAVAILABLE"]);
    let paths = [first.path("twice"), second.path("twice")].map(|p| p.display().to_string());
    assert!(paths.iter().all(|p| reasons[2].contains(p)), "{}", reasons[2]);
    let name = second.0.path().file_name().unwrap().to_str().unwrap();
    let listed: Vec<_> = server.index(name, false).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(listed, ["b"]);
    assert_eq!(error(server.index("elsewhere", false)).0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_is_survived() {
    let repo = Repo::new();
    let server = start(ServerOptions { repositories: vec![repo.path("absent")], ..repo.options() }).await;
    assert!(server.is_ready() && server.models().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_served_under_a_second_name() {
    let repo = Repo::new();
    let raw = r#"parameters { key: "raw" value { string_value: "true" } }"#;
    repo.version("m/1", "add=3 raw").config("m", &format!("max_batch_size: 4 {raw}"));
    repo.version("quiet/1", "add=3 raw").version("float/1", "add=3").config("float", raw);
    repo.version("clash/1", "add=3 raw").config("clash", raw).version("clash_raw/1", "add=4");
    let server = start(repo.explicit(&["*"])).await;
    assert_eq!(
        (ask(&server, "m", "").await.unwrap(), ask(&server, "m_raw", "").await.unwrap()),
        ((4, 1), (4, 1))
    );
    let twin = server.model("m_raw", "").unwrap();
    assert_eq!((twin.spec().max_batch, twin.spec().inputs[0].datatype), (4, Datatype::Int32));
    assert_eq!(twin.spec().config.name, "m_raw");
    assert!(server.model("quiet_raw", "").is_err());
    let reason = |name: &str| {
        let entries = server.index("", false).unwrap();
        entries.into_iter().find(|e| e.name == name).unwrap().reason
    };
    assert!(reason("float").contains("raw is set, but what runs it has no codes"), "{}", reason("float"));
    assert!(reason("clash").contains("'clash_raw', which another model has"), "{}", reason("clash"));
    assert_eq!(ask(&server, "clash_raw", "").await.unwrap(), (5, 1));
    let (code, message) = error(server.unload("", "m_raw").await);
    assert!(code == Code::InvalidArgument && message.contains("unload 'm'"), "{message}");
    server.unload("", "m").await.unwrap();
    assert!(server.model("m_raw", "").is_err() && server.model("m", "").is_err());
    repo.config("m", "");
    server.load("", "m", LoadOverride::default()).await.unwrap();
    assert!(server.model("m", "").is_ok());
    assert_eq!(error(server.model("m_raw", "")).1, "Request for unknown model: 'm_raw' is not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_warm_before_it_is_ready() {
    let repo = Repo::new();
    let warmup =
        |input: &str| format!(r#"model_warmup {{ name: "w" batch_size: 2 count: 3 inputs {{ {input} }} }}"#);
    let x = |what: &str| format!(r#"key: "x" value {{ dims: 4 {what} }}"#);
    repo.version("zero/1", "").config("zero", &warmup(&x("zero_data: true")));
    repo.version("random/1", "").config("random", &warmup(&x("random_data: true data_type: TYPE_UINT32")));
    repo.version("file/1", "").config("file", &warmup(&x(r#"input_data_file: "x.bin""#)));
    repo.file("file/warmup/x.bin", &"\0".repeat(32));
    repo.version("short/1", "").config("short", &warmup(&x(r#"input_data_file: "x.bin""#)));
    repo.file("short/warmup/x.bin", "123");
    repo.version("outside/1", "").config("outside", &warmup(&x(r#"input_data_file: "../config.pbtxt""#)));
    repo.version("open/1", "").config("open", &warmup(r#"key: "x" value {}"#));
    repo.version("other/1", "").config("other", &warmup(r#"key: "q" value { dims: 1 }"#));
    repo.version("typed/1", "").config("typed", &warmup(&x("data_type: TYPE_FP32")));
    repo.version("many/1", "").config("many", &format!("max_batch_size: 1 {}", warmup(&x(""))));
    let server = repo.serve().await;
    let reasons: Vec<(String, String)> =
        server.index("", false).unwrap().into_iter().map(|e| (e.name, e.reason)).collect();
    for (name, part) in [
        ("file", ""),
        ("many", "batch_size is 2"),
        ("open", "give a size for each axis"),
        ("other", "no input 'q'"),
        ("outside", "no path within"),
        ("random", ""),
        ("short", "3 bytes"),
        ("typed", "data_type is TYPE_FP32"),
        ("zero", ""),
    ] {
        let (_, reason) = reasons.iter().find(|(n, _)| n == name).unwrap();
        assert_eq!(reason.is_empty(), part.is_empty(), "{name}: {reason}");
        assert!(reason.contains(part), "{name}: {reason}");
    }
    // Warm-ups are nobody's requests.
    assert_eq!(server.statistics("zero", "").unwrap()[0].execution_count, 0);
}
