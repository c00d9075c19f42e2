//! The paths of the protocol, and those beside it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::page::Asset;

/// What a path names. Names are decoded, and never empty unless said otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Whether the server answers at all.
    Live,
    /// Whether balancers may send requests.
    Ready,
    /// The server's own description.
    Server,
    /// A model, or one version of it.
    Model(Target<'a>, Of),
    /// The statistics of all models.
    Statistics,
    /// The models of the repository of that name; empty: of all.
    Index(Cow<'a, str>),
    /// Loading a model.
    Load(Stored<'a>),
    /// Unloading a model.
    Unload(Stored<'a>),
    /// Shared memory of this machine.
    SystemMemory(Memory<'a>),
    /// Shared memory of a GPU.
    CudaMemory(Memory<'a>),
    /// Trace settings of the model of that name; empty: of all.
    Trace(Cow<'a, str>),
    /// Log settings.
    Logging,
    /// Which backends there are, and how they are. Not of the protocol.
    Backends,
    /// A file of the built-in page, or the protocol's description. Not of the protocol.
    Asset(&'static Asset),
}

/// A model that is served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Its name.
    pub(crate) name: Cow<'a, str>,
    /// Decimal digits; empty: the latest.
    pub(crate) version: &'a str,
}

/// A model of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    /// Name of the repository; empty: any.
    pub(crate) repository: Cow<'a, str>,
    /// Name of the model.
    pub(crate) model: Cow<'a, str>,
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Metadata,
    Ready,
    Config,
    Statistics,
    Infer,
}

/// What is asked of shared memory, by the region's name; an empty one: all regions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Memory<'a> {
    Status(Cow<'a, str>),
    Register(Cow<'a, str>),
    Unregister(Cow<'a, str>),
}

/// Segments of the longest path.
pub(super) const LONGEST: usize = 5;

impl<'a> Route<'a> {
    /// What `path` names, if anything.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let rest = match path.strip_prefix("/v2") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => return Asset::at(path).map(Self::Asset),
        };
        let mut segments = [""; LONGEST];
        let mut count = 0;
        for segment in rest.split('/').skip(1) {
            *segments.get_mut(count)? = segment;
            count += 1;
        }
        Some(match &segments[..count] {
            [] => Self::Server,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["models", "stats"] => Self::Statistics,
            ["models", model, "trace", "setting"] => Self::Trace(name(model)?),
            ["models", model, "versions", version, of @ ..] => {
                let number = version.bytes().all(|b| b.is_ascii_digit()) && version.parse::<u64>().is_ok();
                number.then_some(Self::Model(Target { name: name(model)?, version }, Of::parse(of)?))?
            }
            ["models", model, of @ ..] => {
                Self::Model(Target { name: name(model)?, version: "" }, Of::parse(of)?)
            }
            ["repository", "index"] => Self::Index("".into()),
            ["repository", repository, "index"] => Self::Index(name(repository)?),
            ["repository", "models", model, verb] => Self::stored("".into(), model, verb)?,
            ["repository", repository, "models", model, verb] => {
                Self::stored(name(repository)?, model, verb)?
            }
            ["systemsharedmemory", rest @ ..] => Self::SystemMemory(Memory::parse(rest)?),
            ["cudasharedmemory", rest @ ..] => Self::CudaMemory(Memory::parse(rest)?),
            ["trace", "setting"] => Self::Trace("".into()),
            ["logging"] => Self::Logging,
            ["hypersonic", "backends"] => Self::Backends,
            _ => Self::Asset(Asset::at(path)?),
        })
    }

    fn stored(repository: Cow<'a, str>, model: &'a str, verb: &str) -> Option<Self> {
        let stored = Stored { repository, model: name(model)? };
        match verb {
            "load" => Some(Self::Load(stored)),
            "unload" => Some(Self::Unload(stored)),
            _ => None,
        }
    }

    /// The path with what clients choose in braces.
    pub(crate) fn pattern(&self) -> &'static str {
        match self {
            Self::Live => "/v2/health/live",
            Self::Ready => "/v2/health/ready",
            Self::Server => "/v2",
            Self::Model(Target { version: "", .. }, of) => match of {
                Of::Metadata => "/v2/models/{model}",
                Of::Ready => "/v2/models/{model}/ready",
                Of::Config => "/v2/models/{model}/config",
                Of::Statistics => "/v2/models/{model}/stats",
                Of::Infer => "/v2/models/{model}/infer",
            },
            Self::Model(_, of) => match of {
                Of::Metadata => "/v2/models/{model}/versions/{version}",
                Of::Ready => "/v2/models/{model}/versions/{version}/ready",
                Of::Config => "/v2/models/{model}/versions/{version}/config",
                Of::Statistics => "/v2/models/{model}/versions/{version}/stats",
                Of::Infer => "/v2/models/{model}/versions/{version}/infer",
            },
            Self::Statistics => "/v2/models/stats",
            Self::Index(repository) if repository.is_empty() => "/v2/repository/index",
            Self::Index(_) => "/v2/repository/{repository}/index",
            Self::Load(of) if of.repository.is_empty() => "/v2/repository/models/{model}/load",
            Self::Load(_) => "/v2/repository/{repository}/models/{model}/load",
            Self::Unload(of) if of.repository.is_empty() => "/v2/repository/models/{model}/unload",
            Self::Unload(_) => "/v2/repository/{repository}/models/{model}/unload",
            Self::SystemMemory(memory) => match (memory, memory.region().is_empty()) {
                (Memory::Status(_), true) => "/v2/systemsharedmemory/status",
                (Memory::Status(_), false) => "/v2/systemsharedmemory/region/{region}/status",
                (Memory::Register(_), _) => "/v2/systemsharedmemory/region/{region}/register",
                (Memory::Unregister(_), true) => "/v2/systemsharedmemory/unregister",
                (Memory::Unregister(_), false) => "/v2/systemsharedmemory/region/{region}/unregister",
            },
            Self::CudaMemory(memory) => match (memory, memory.region().is_empty()) {
                (Memory::Status(_), true) => "/v2/cudasharedmemory/status",
                (Memory::Status(_), false) => "/v2/cudasharedmemory/region/{region}/status",
                (Memory::Register(_), _) => "/v2/cudasharedmemory/region/{region}/register",
                (Memory::Unregister(_), true) => "/v2/cudasharedmemory/unregister",
                (Memory::Unregister(_), false) => "/v2/cudasharedmemory/region/{region}/unregister",
            },
            Self::Trace(model) if model.is_empty() => "/v2/trace/setting",
            Self::Trace(_) => "/v2/models/{model}/trace/setting",
            Self::Logging => "/v2/logging",
            Self::Backends => "/v2/hypersonic/backends",
            Self::Asset(asset) if asset.path().starts_with("/page/") => "/page/{file}",
            Self::Asset(asset) => asset.path(),
        }
    }

    /// Whether it can be read, and whether it can be posted to.
    pub(crate) fn methods(&self) -> (bool, bool) {
        match self {
            Self::Live | Self::Ready | Self::Server | Self::Statistics => (true, false),
            Self::Backends | Self::Asset(_) => (true, false),
            Self::Model(_, Of::Infer) => (false, true),
            Self::Model(_, Of::Metadata | Of::Ready | Of::Config | Of::Statistics) => (true, false),
            Self::Index(_) | Self::Load(_) | Self::Unload(_) => (false, true),
            Self::SystemMemory(memory) | Self::CudaMemory(memory) => match memory {
                Memory::Status(_) => (true, false),
                Memory::Register(_) | Memory::Unregister(_) => (false, true),
            },
            Self::Trace(_) | Self::Logging => (true, true),
        }
    }
}

impl Of {
    fn parse(segments: &[&str]) -> Option<Self> {
        match segments {
            [] => Some(Self::Metadata),
            ["ready"] => Some(Self::Ready),
            ["config"] => Some(Self::Config),
            ["stats"] => Some(Self::Statistics),
            ["infer"] => Some(Self::Infer),
            _ => None,
        }
    }
}

impl<'a> Memory<'a> {
    fn region(&self) -> &str {
        match self {
            Self::Status(region) | Self::Register(region) | Self::Unregister(region) => region,
        }
    }

    fn parse(segments: &[&'a str]) -> Option<Self> {
        let (region, verb) = match segments {
            [verb] => ("".into(), *verb),
            ["region", region, verb] => (name(region)?, *verb),
            _ => return None,
        };
        match verb {
            "status" => Some(Self::Status(region)),
            "register" if !region.is_empty() => Some(Self::Register(region)),
            "unregister" => Some(Self::Unregister(region)),
            _ => None,
        }
    }
}

/// A name that a segment spells.
fn name(segment: &str) -> Option<Cow<'_, str>> {
    if segment.is_empty() {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model<'a>(name: &'a str, version: &'a str, of: Of) -> Option<Route<'a>> {
        Some(Route::Model(Target { name: name.into(), version }, of))
    }

    #[test]
    fn the_protocols_paths() {
        let stored = |repository: &'static str, model: &'static str| Stored {
            repository: repository.into(),
            model: model.into(),
        };
        for (path, route) in [
            ("/v2", Some(Route::Server)),
            ("/v2/health/live", Some(Route::Live)),
            ("/v2/health/ready", Some(Route::Ready)),
            ("/v2/models/m", model("m", "", Of::Metadata)),
            ("/v2/models/m/ready", model("m", "", Of::Ready)),
            ("/v2/models/m/versions/12", model("m", "12", Of::Metadata)),
            ("/v2/models/m/versions/1/config", model("m", "1", Of::Config)),
            ("/v2/models/m/versions/1/stats", model("m", "1", Of::Statistics)),
            ("/v2/models/m/infer", model("m", "", Of::Infer)),
            ("/v2/models/versions/infer", model("versions", "", Of::Infer)),
            ("/v2/models/a%20b%2Fc+%C3%A9/infer", model("a b/c+é", "", Of::Infer)),
            ("/v2/models/stats", Some(Route::Statistics)),
            ("/v2/models/stats/infer", model("stats", "", Of::Infer)),
            ("/v2/models/m/trace/setting", Some(Route::Trace("m".into()))),
            ("/v2/repository/index", Some(Route::Index("".into()))),
            ("/v2/repository/r/index", Some(Route::Index("r".into()))),
            ("/v2/repository/models/m/load", Some(Route::Load(stored("", "m")))),
            ("/v2/repository/r/models/m/unload", Some(Route::Unload(stored("r", "m")))),
            ("/v2/systemsharedmemory/status", Some(Route::SystemMemory(Memory::Status("".into())))),
            (
                "/v2/systemsharedmemory/region/a/register",
                Some(Route::SystemMemory(Memory::Register("a".into()))),
            ),
            ("/v2/cudasharedmemory/unregister", Some(Route::CudaMemory(Memory::Unregister("".into())))),
            ("/v2/cudasharedmemory/region/a/status", Some(Route::CudaMemory(Memory::Status("a".into())))),
            ("/v2/trace/setting", Some(Route::Trace("".into()))),
            ("/v2/logging", Some(Route::Logging)),
            ("/v2/hypersonic/backends", Some(Route::Backends)),
            ("/", Asset::at("/").map(Route::Asset)),
            ("/v2/openapi.json", Asset::at("/v2/openapi.json").map(Route::Asset)),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }

    #[test]
    fn patterns_are_without_names() {
        for (path, pattern) in [
            ("/v2", "/v2"),
            ("/v2/models/m", "/v2/models/{model}"),
            ("/v2/models/m/infer", "/v2/models/{model}/infer"),
            ("/v2/models/m/versions/7/infer", "/v2/models/{model}/versions/{version}/infer"),
            ("/v2/models/m/trace/setting", "/v2/models/{model}/trace/setting"),
            ("/v2/trace/setting", "/v2/trace/setting"),
            ("/v2/repository/index", "/v2/repository/index"),
            ("/v2/systemsharedmemory/region/r/register", "/v2/systemsharedmemory/region/{region}/register"),
            ("/v2/systemsharedmemory/status", "/v2/systemsharedmemory/status"),
        ] {
            assert_eq!(Route::parse(path).unwrap().pattern(), pattern);
        }
    }

    #[test]
    fn no_other_paths() {
        for path in [
            "",
            "//",
            "/v1",
            "/page",
            "/page/",
            "/v2/",
            "/v2x",
            "/v22/health/live",
            "/v2/health",
            "/v2/health/live/",
            "/v2/models",
            "/v2/models/",
            "/v2/models/m/",
            "/v2/models//infer",
            "/v2/models/m/infer/",
            "/v2/models/m/generate",
            "/v2/models/m/versions",
            "/v2/models/m/versions/",
            "/v2/models/m/versions/x",
            "/v2/models/m/versions/-1",
            "/v2/models/m/versions/+1",
            "/v2/models/m/versions/18446744073709551616",
            "/v2/models/m/versions/1/trace/setting",
            "/v2/models/%ff/infer",
            "/v2/repository/models/m",
            "/v2/repository/models/m/reload",
            "/v2/systemsharedmemory/register",
            "/v2/systemsharedmemory/region/status",
            "/v2/systemsharedmemory/region//status",
            "/v2/hypersonic",
            "/v2/hypersonic/backends/x",
            "/v2/openapi.json/",
            "/v2/a/b/c/d/e/f/g/h/i/j",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_safe(path in "(/v2)?(/(models|versions|repository|region|[a-z%0-9]{0,3})){0,10}") {
            let _ = Route::parse(&path);
        }
    }
}
