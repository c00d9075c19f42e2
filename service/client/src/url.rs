//! Where a server is and what it speaks.

use std::fmt;

/// What is spoken with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 with binary tensors.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Without `SCHEME://`.
    #[error(
        "'{0}' does not say what the server speaks: write http://HOST:PORT, grpc://HOST:PORT, or https or grpcs"
    )]
    NoScheme(String),
    /// A scheme that is none of ours.
    #[error("'{url}' begins with {scheme}://, expected http, https, grpc or grpcs")]
    Scheme {
        /// The text.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// Something else is wrong.
    #[error("'{url}': {what}")]
    Part {
        /// The text.
        url: String,
        /// What is wrong.
        what: String,
    },
}

/// Address of a server: `http://`, `https://`, `grpc://` or `grpcs://`, a host, a port if it is not the usual one
/// (8000 for HTTP, 8001 for gRPC), and over HTTP a path below which the protocol's own paths are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    protocol: Protocol,
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::with_usual_port(text, None)
    }

    /// Reads an address of something else, which usually listens on another port.
    pub fn with_usual_port(text: &str, usual: Option<u16>) -> Result<Self, UrlError> {
        let wrong = |what: String| UrlError::Part { url: text.to_owned(), what };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(UrlError::NoScheme(text.to_owned()));
        };
        let (protocol, tls) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Protocol::Http, false),
            "https" => (Protocol::Http, true),
            "grpc" => (Protocol::Grpc, false),
            "grpcs" => (Protocol::Grpc, true),
            _ => return Err(UrlError::Scheme { url: text.to_owned(), scheme: scheme.to_owned() }),
        };
        if let Some(c) =
            rest.chars().find(|c| c.is_whitespace() || c.is_control() || "?#@\\\"<>".contains(*c))
        {
            return Err(wrong(format!("an address holds no '{}'", c.escape_default())));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
            let (host, after) = inside.split_once(']').ok_or_else(|| wrong("'[' without ']'".to_owned()))?;
            let port = match after.strip_prefix(':') {
                None if after.is_empty() => None,
                None => return Err(wrong(format!("'{after}' after ']', expected ':' and a port"))),
                Some(port) => Some(port),
            };
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(wrong(format!("'{host}' is no IPv6 address")));
            }
            (host, port)
        } else {
            match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(wrong("more than one ':'; an IPv6 address stands in [ ]".to_owned()));
                }
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        if host.is_empty() {
            return Err(wrong("there is no host".to_owned()));
        }
        let port = match port {
            None => usual.unwrap_or(match protocol {
                Protocol::Http => 8000,
                Protocol::Grpc => 8001,
            }),
            Some(port) => port
                .parse()
                .ok()
                .filter(|p| *p > 0)
                .ok_or_else(|| wrong(format!("port '{port}', expected a number from 1 to 65535")))?,
        };
        let path = path.trim_end_matches('/');
        if protocol == Protocol::Grpc && !path.is_empty() {
            return Err(wrong(format!("gRPC has no path, but there is '{path}'")));
        }
        Ok(Self { protocol, tls, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// What is spoken there.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether in TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address of the machine, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path before the protocol's own, without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Host and port as a URL holds them.
    pub(crate) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.protocol, self.tls) {
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::Grpc, false) => "grpc",
            (Protocol::Grpc, true) => "grpcs",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_defaults() {
        for (text, full) in [
            ("http://a", "http://a:8000"),
            ("HTTPS://a.b/", "https://a.b:8000"),
            ("grpc://10.0.0.1", "grpc://10.0.0.1:8001"),
            ("grpcs://[::1]", "grpcs://[::1]:8001"),
            ("http://[fe80::1]:80/triton/", "http://[fe80::1]:80/triton"),
            ("http://a:1/b/c", "http://a:1/b/c"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), full);
            assert_eq!(Url::parse(full).unwrap(), url);
        }
        for (text, port) in [("http://a", 4318), ("http://a:1/b", 1)] {
            assert_eq!(Url::with_usual_port(text, Some(4318)).unwrap().port(), port);
        }
        let url = Url::parse("grpcs://[::1]:9").unwrap();
        assert_eq!((url.protocol(), url.is_tls(), url.host(), url.port()), (Protocol::Grpc, true, "::1", 9));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, part) in [
            ("localhost:8000", "write http://HOST:PORT"),
            ("", "write http://HOST:PORT"),
            ("ftp://a", "begins with ftp://"),
            ("http://", "no host"),
            ("http://:80", "no host"),
            ("http://a:0", "port '0'"),
            ("http://a:65536", "port '65536'"),
            ("http://a:", "port ''"),
            ("http://::1:80", "stands in [ ]"),
            ("http://[::1", "without ']'"),
            ("http://[::1]80", "expected ':'"),
            ("http://[a]:80", "no IPv6"),
            ("http://u@a", "no '@'"),
            ("http://a/b?c", "no '?'"),
            ("http://a b", "no ' '"),
            ("grpc://a/b", "no path"),
        ] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
