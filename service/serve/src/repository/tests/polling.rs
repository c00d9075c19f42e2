//! Repositories that change on disk.

use super::*;

const EVERY: Duration = Duration::from_millis(30);

async fn polling(repo: &Repo) -> Arc<Server> {
    start(ServerOptions { control: ModelControl::Poll { every: EVERY }, ..repo.options() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed() {
    let repo = Repo::new();
    repo.version("m/1", "add=1").version("gone/1", "add=1");
    let server = polling(&repo).await;
    assert_eq!(index(&server, false).0, ["gone/1 READY", "m/1 READY"]);
    repo.version("m/2", "add=2").version("new/1", "add=9");
    fs::remove_dir_all(repo.path("gone")).unwrap();
    until("the new version", || server.versions("m") == [2]).await;
    until("the new model", || server.is_model_ready("new", "")).await;
    until("the removed model", || server.model("gone", "").unwrap_err().message.ends_with("is not found"))
        .await;
    repo.config("m", "max_batch_size: 3");
    until("the configuration", || server.model("m", "").unwrap().spec().max_batch == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_copied_is_left_alone() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let server = polling(&repo).await;
    // It is broken until it is whole, and changes from look to look.
    let mut words = "nonsense".to_owned();
    for _ in 0..20 {
        words.push('x');
        repo.version("m/2", &words);
        tokio::time::sleep(EVERY / 3).await;
        assert_eq!(server.versions("m"), [1]);
    }
    repo.version("m/2", "add=2");
    until("the whole version", || server.versions("m") == [2]).await;
    // One that stays broken takes nothing down, and is tried again when it changes.
    repo.version("m/3", "nonsense");
    until("the broken version", || index(&server, false).0.contains(&"m/3 UNAVAILABLE".to_owned())).await;
    assert_eq!(server.versions("m"), [2]);
    repo.version("m/3", "add=3");
    until("the mended version", || server.versions("m") == [3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_away_takes_no_model_down() {
    let repo = Repo::new();
    repo.version("m/1", "add=1");
    let server = polling(&repo).await;
    let away = repo.0.path().with_extension("away");
    fs::rename(repo.0.path(), &away).unwrap();
    tokio::time::sleep(EVERY * 5).await;
    assert_eq!(server.versions("m"), [1]);
    fs::rename(&away, repo.0.path()).unwrap();
    tokio::time::sleep(EVERY * 5).await;
    assert_eq!(ask(&server, "m", "").await.unwrap(), (2, 1));
}
