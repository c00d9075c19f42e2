use serde_json::json;

use crate::fixture::Fixture;

const FILES: [&str; 3] = ["/", "/page/main.js", "/v2/openapi.json"];

#[tokio::test]
async fn files_say_what_they_are() {
    let f = Fixture::new().await;
    for (path, content) in FILES.into_iter().zip([
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
        "application/json",
    ]) {
        let reply = f.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some(content)), "{path}");
        assert!(!reply.body.is_empty());
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        let head = f.call("HEAD", path, &[], "").await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), Some(&*reply.body.len().to_string()));
        assert_eq!(f.post(path, "").await.error(405), "Method Not Allowed: POST, expected GET, HEAD");
    }
    for path in ["/page", "/page/", "/page/nothing.js", "/index.html"] {
        f.get(path).await.error(404);
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let f = Fixture::new().await;
    let mut tags = Vec::new();
    for path in FILES {
        let reply = f.get(path).await;
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        let tag = reply.header("etag").unwrap().to_owned();
        for (known, status) in
            [(&*tag, 304), (&*format!("\"x\", W/{tag}"), 304), ("*", 304), ("\"x\"", 200), ("", 200)]
        {
            let again = f.call("GET", path, &[("if-none-match", known)], "").await;
            assert_eq!(again.status, status, "{path} {known}");
            assert_eq!(again.body.is_empty(), status == 304);
            assert_eq!(again.header("etag"), Some(&*tag));
        }
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), FILES.len());
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let f = Fixture::new().await;
    let page = String::from_utf8(f.get("/").await.body.to_vec()).unwrap();
    let mut files: Vec<String> = Vec::new();
    for part in page.split(['"', '\'']).skip(1).step_by(2) {
        if part.ends_with(".js") || part.ends_with(".css") {
            files.push(format!("/{part}"));
        }
    }
    assert_eq!(files, ["/page/page.css", "/page/main.js"]);
    let mut at = 0;
    while at < files.len() {
        let reply = f.get(&files[at]).await;
        assert_eq!(reply.status, 200, "{}", files[at]);
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        for import in text.lines().filter_map(|l| l.strip_prefix("import ")?.split('"').nth(1)) {
            let path = import.replacen("./", "/page/", 1);
            if !files.contains(&path) {
                files.push(path);
            }
        }
        // Names that are not addresses: XML's of drawings, and of what HTML's icon is.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("http:") && !text.contains("https:") && !text.contains("innerHTML ="),
            "{}",
            files[at]
        );
        at += 1;
    }
    assert_eq!(files.len(), 7);
}

#[tokio::test]
async fn backends_and_how_they_are() {
    let f = Fixture::new().await;
    let all = f.get("/v2/hypersonic/backends").await.json();
    assert_eq!(all["backends"], json!([{"name": "copies", "available": true, "detail": "cpu"}]));
    let models = all["models"].as_array().unwrap();
    let names: Vec<_> = models.iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a b", "any", "half", "pair", "plain", "text"]);
    let one = json!({"name": "copies", "device": "cpu", "exact": false, "healthy": true});
    assert_eq!(models[0], json!({"name": "a b", "version": "1", "backends": [one]}));
    f.post("/v2/hypersonic/backends", "{}").await.error(405);
}
