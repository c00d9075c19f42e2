//! The built-in page and the protocol's description: files that are part of the program.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::answer::Answer;

/// A file that a browser or a tool may read, and its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asset {
    path: &'static str,
    content: &'static str,
    body: &'static [u8],
    /// Tells one version of `body` from another.
    version: u64,
}

macro_rules! assets {
    ($($path:literal $file:literal $content:literal;)*) => {
        const ASSETS: &[Asset] = &[$({
            const BODY: &[u8] = include_bytes!($file);
            Asset { path: $path, content: $content, body: BODY, version: fnv1a(BODY) }
        }),*];
    };
}

assets! {
    "/" "page/index.html" "text/html; charset=utf-8";
    "/page/page.css" "page/page.css" "text/css; charset=utf-8";
    "/page/main.js" "page/main.js" "text/javascript; charset=utf-8";
    "/page/api.js" "page/api.js" "text/javascript; charset=utf-8";
    "/page/dom.js" "page/dom.js" "text/javascript; charset=utf-8";
    "/page/live.js" "page/live.js" "text/javascript; charset=utf-8";
    "/page/form.js" "page/form.js" "text/javascript; charset=utf-8";
    "/page/tensors.js" "page/tensors.js" "text/javascript; charset=utf-8";
    "/v2/openapi.json" "openapi.json" "application/json";
}

/// Headers of all assets. The page loads nothing from elsewhere, and nothing that a model or a client is called becomes
/// a script: the browser is told, too.
static HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

impl Asset {
    /// The asset at a path.
    pub(crate) fn at(path: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|a| a.path == path)
    }

    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// The places of all assets.
    #[cfg(test)]
    pub(super) fn paths() -> impl Iterator<Item = &'static str> {
        ASSETS.iter().map(Self::path)
    }

    /// The asset, or that it is what the client has already.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Answer {
        let tag = format!("\"{:016x}\"", self.version);
        let known = |v: &HeaderValue| v.as_bytes().windows(tag.len()).any(|w| w == tag.as_bytes());
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|v| v == "*" || known(v));
        // Sixteen digits in quotes are a header's value.
        let version = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        let content = HeaderValue::from_static(self.content);
        let answer = Answer::file(content, (header::ETAG, version), &HEADERS, self.body);
        if known { answer.not_modified() } else { answer }
    }
}

/// A number that changes with the bytes.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values_of_the_hash() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
