//! Where bitstreams are kept.

mod folder;
mod s3;

use std::{
    env,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use hs_hw::Fingerprint;

use crate::{
    Aws, AwsError, Bitstream, Digest, File, FileName, Manifest, ManifestError, Refusal, Shell, Target,
};
use s3::Bucket;

/// Names a registry.
const VARIABLE: &str = "HYPERSONIC_REGISTRY";

/// Where a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder; it need not exist yet.
    Folder(PathBuf),
    /// Objects of an S3 bucket, written `s3://BUCKET/PREFIX`.
    S3 {
        /// The bucket.
        bucket: String,
        /// What their keys start with, without a slash at either end; empty: the bucket itself.
        prefix: String,
    },
}

impl Location {
    /// `HYPERSONIC_REGISTRY`, else `hypersonic/bitstreams` in the user's folder for data (`XDG_DATA_HOME`, else
    /// `~/.local/share`).
    pub fn of_environment() -> Result<Self, RegistryError> {
        Self::of_variables(|name| env::var_os(name))
    }

    pub(crate) fn of_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, RegistryError> {
        if let Some(said) = get(VARIABLE).filter(|v| !v.is_empty()) {
            return match said.to_str() {
                Some(text) => text.parse(),
                None => Ok(Self::Folder(said.into())),
            };
        }
        let data = home(&get, "XDG_DATA_HOME", ".local/share").ok_or(RegistryError::Nowhere)?;
        Ok(Self::Folder(data.join("hypersonic/bitstreams")))
    }
}

/// A folder of the user: a variable, which must be an absolute path to be heard, else one below `HOME`.
fn home(get: &impl Fn(&str) -> Option<OsString>, variable: &str, below: &str) -> Option<PathBuf> {
    let absolute = |name| get(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below)))
}

/// Where files of a bucket are kept, to be loaded from.
fn cache() -> Result<PathBuf, RegistryError> {
    let folder = home(&|name| env::var_os(name), "XDG_CACHE_HOME", ".cache").ok_or(RegistryError::Nowhere)?;
    Ok(folder.join("hypersonic/bitstreams"))
}

impl FromStr for Location {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("s3://") else {
            if text.is_empty() || text.contains("://") {
                return Err(RegistryError::Location(text.to_owned()));
            }
            return Ok(Self::Folder(text.into()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
            && bucket.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_prefix = prefix.is_empty()
            || prefix.split('/').all(|part| {
                !matches!(part, "" | "." | "..")
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-=".contains(&b))
            });
        if is_bucket && is_prefix {
            Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        } else {
            Err(RegistryError::Location(text.to_owned()))
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// What can go wrong with a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Text that names no registry.
    #[error("'{}' is no registry: give a folder, or s3://BUCKET/PREFIX", .0.escape_debug())]
    Location(String),
    /// There is no default for a user without a home.
    #[error("no registry is named and HOME is not set: set {VARIABLE} to a folder or to s3://BUCKET/PREFIX")]
    Nowhere,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// AWS' program.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A name is taken.
    #[error("{registry} has a bitstream '{name}' already, another one: choose another name, or replace it")]
    Taken {
        /// The name.
        name: FileName,
        /// Where.
        registry: String,
    },
    /// A manifest that cannot be written, or be read where it must be.
    #[error("{manifest}: {source}")]
    Manifest {
        /// Its file.
        manifest: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// A file that is not the one that its manifest describes.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
}

impl RegistryError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// A manifest of the registry that cannot be used.
#[derive(Debug)]
pub struct Unreadable {
    /// Its file.
    pub file: String,
    /// What is wrong.
    pub error: String,
}

/// What a registry holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Manifests, by name; those that were looked for: the newest first.
    pub manifests: Vec<Manifest>,
    /// Files that should be manifests and are none, by name. They hide nothing else.
    pub unreadable: Vec<Unreadable>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The bits of the model.
    pub fingerprint: Fingerprint,
    /// What loads it.
    pub target: Target,
    /// The card; none: any.
    pub shell: Option<&'a Shell>,
}

/// The files of a bitstream, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The bitstream.
    pub bitstream: PathBuf,
    /// Golden vectors of its model.
    pub golden: Option<PathBuf>,
}

/// What is registered.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The bitstream.
    pub bitstream: &'a Path,
    /// Golden vectors, where the manifest names some.
    pub golden: Option<&'a Path>,
}

/// A place where bitstreams are kept.
#[derive(Debug)]
pub struct Registry {
    location: Location,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    S3(Bucket),
}

impl Registry {
    /// The registry at a location. Files of S3 are kept in the user's folder for caches.
    pub fn new(location: Location) -> Result<Self, RegistryError> {
        let cache = if matches!(location, Location::S3 { .. }) { cache()? } else { PathBuf::new() };
        Ok(Self::with(location, cache, Aws::default()))
    }

    /// The registry at a location, with the cache and the `aws` program that it uses where it is in S3.
    pub fn with(location: Location, cache: PathBuf, aws: Aws) -> Self {
        let place = match &location {
            Location::Folder(path) => Place::Folder(path.clone()),
            Location::S3 { bucket, prefix } => Place::S3(Bucket::new(bucket, prefix, cache, aws)),
        };
        Self { location, place }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// All that it holds. A registry that does not exist yet holds nothing.
    pub fn list(&self) -> Result<Listing, RegistryError> {
        match &self.place {
            Place::Folder(folder) => folder::list(folder),
            Place::S3(bucket) => bucket.list(),
        }
    }

    /// Bitstreams that fit, going by their manifests, the newest first.
    pub fn find(&self, wanted: &Wanted<'_>) -> Result<Listing, RegistryError> {
        let mut found = self.list()?;
        found.manifests.retain(|m| {
            m.fingerprint == wanted.fingerprint
                && m.target == wanted.target
                && wanted.shell.is_none_or(|shell| m.check_shell(shell).is_ok())
        });
        found.manifests.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
        Ok(found)
    }

    /// Adds a bitstream: first its files, then, at once, its manifest. The files must be those that the manifest
    /// describes. Adding what is there already changes nothing; another one of the same name must be meant
    /// (`replace`).
    pub fn add(&self, manifest: &Manifest, files: &Files<'_>, replace: bool) -> Result<(), RegistryError> {
        let named = manifest.golden.as_ref().zip(files.golden);
        let pairs: Vec<(&File, &Path)> =
            [(&manifest.file, files.bitstream)].into_iter().chain(named).collect();
        for (file, path) in &pairs {
            verify(file, path)?;
        }
        if let Some(there) = self.list()?.manifests.into_iter().find(|m| m.name == manifest.name)
            && (&there.file, &there.golden) == (&manifest.file, &manifest.golden)
        {
            return Ok(());
        }
        let text = manifest
            .to_toml()
            .map_err(|source| RegistryError::Manifest { manifest: manifest.file_name(), source })?;
        match &self.place {
            Place::Folder(folder) => folder::add(folder, manifest, &text, &pairs, replace),
            Place::S3(bucket) => bucket.add(manifest, &text, &pairs, replace),
        }
    }

    /// Local files of a bitstream. Their SHA-256 is checked each time.
    pub fn fetch(&self, manifest: &Manifest) -> Result<Fetched, RegistryError> {
        let get = |file: &File| match &self.place {
            Place::Folder(folder) => {
                let path = folder.join(file.name.as_str());
                verify(file, &path).map(|()| path)
            }
            Place::S3(bucket) => bucket.fetch(file),
        };
        let bitstream = get(&manifest.file)?;
        let golden = manifest.golden.as_ref().map(get).transpose()?;
        Ok(Fetched { bitstream, golden })
    }

    /// The bitstream of a manifest, fetched, read and compared with it.
    pub fn open(&self, manifest: &Manifest) -> Result<(Fetched, Bitstream), RegistryError> {
        let fetched = self.fetch(manifest)?;
        let bitstream = Bitstream::read(&fetched.bitstream).map_err(Box::new)?;
        manifest.check(&bitstream).map_err(Box::new)?;
        Ok((fetched, bitstream))
    }
}

/// Whether the file at `path` is the one that a manifest describes.
fn verify(file: &File, path: &Path) -> Result<(), RegistryError> {
    // A pipe or a device would be read for ever.
    let about = path.metadata().map_err(RegistryError::io(path))?;
    if !about.is_file() {
        return Err(RegistryError::io(path)(io::Error::other("not a file")));
    }
    let (sha256, bytes) = Digest::of_file(path).map_err(RegistryError::io(path))?;
    if (sha256, bytes) == (file.sha256, file.bytes) {
        return Ok(());
    }
    Err(RegistryError::Refused(Box::new(Refusal::Digest {
        file: path.display().to_string(),
        bytes,
        found: sha256,
        expected_bytes: file.bytes,
        expected: file.sha256,
    })))
}
