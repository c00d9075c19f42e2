//! How far a deployment has come, kept in its folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use hs_bitstream::Digest;
use hs_xclbin::Agfi;
use serde::{Deserialize, Serialize};

use super::super::exit::Failure;

const STATE: &str = "state.json";
const LOCK: &str = "lock";
const VERSION: u32 = 1;

/// What AWS is asked for. What is asked for again with the same values is the same image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// SHA-256 of the xclbin.
    pub(super) xclbin: Digest,
    /// SHA-256 of what is uploaded.
    pub(super) archive: Digest,
    pub(super) bucket: String,
    /// Of the archive.
    pub(super) key: String,
    /// What the keys of AWS' logs start with.
    pub(super) logs: Option<String>,
    /// None: the default of the `aws` program.
    pub(super) region: Option<String>,
    /// Name of the image.
    pub(super) name: String,
    /// Counts images that failed before.
    pub(super) attempt: u32,
}

impl Request {
    /// Text that AWS knows a repeated request by: however often it comes, there is one image.
    pub(super) fn token(&self) -> String {
        let Self { xclbin, archive, bucket, key, logs, region, name, attempt } = self;
        let (logs, region) = (logs.as_deref().unwrap_or(""), region.as_deref().unwrap_or(""));
        let all = [&xclbin.to_string(), &archive.to_string(), bucket, key, logs, region, name, &attempt.to_string()];
        let digest = Digest::of(format!("hypersonic deploy aws-f1\n{}", all.join("\n")).as_bytes());
        format!("hypersonic-{}", &digest.to_string()[..40])
    }
}

/// An image of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Image {
    pub(super) afi: String,
    pub(super) agfi: Agfi,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    pub(super) request: Request,
    pub(super) uploaded: bool,
    pub(super) image: Option<Image>,
    pub(super) available: bool,
    /// What AWS said of an image that it could not make.
    pub(super) failed: Option<String>,
}

impl State {
    pub(super) fn new(request: Request) -> Self {
        Self { version: VERSION, request, uploaded: false, image: None, available: false, failed: None }
    }
}

/// The folder of a deployment, held by this process alone.
pub(super) struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and locks it.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir).map_err(|e| Failure::file(dir, e))?;
        let at = dir.join(LOCK);
        let lock = File::options().create(true).append(true).open(&at).map_err(|e| Failure::file(&at, e))?;
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            return Err(Failure::environment(format!("another deployment works in {}", dir.display()))
                .help("wait for it to end, or stop it"));
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Writes the state: whole, or not at all.
    pub(super) fn keep(&self, state: &State) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(state).map_err(Failure::internal)?;
        self.write(STATE, &text).map(drop)
    }

    /// Writes a file of the folder: whole, or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let (at, new) = (self.dir.join(name), self.dir.join(format!(".{name}.new")));
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &at)).map_err(|e| Failure::file(&at, e))?;
        Ok(at)
    }
}

/// What a folder says of an earlier run; none: there was none.
pub(super) fn read(dir: &Path) -> Result<Option<State>, Failure> {
    let at = dir.join(STATE);
    let bytes = match fs::read(&at) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::file(&at, e)),
    };
    // Starting anew could ask for a second image.
    let state: State = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::file(&at, e).help("it is not what `deploy` wrote: look which image it names, then remove it")
    })?;
    if state.version == VERSION {
        return Ok(Some(state));
    }
    Err(Failure::file(&at, format!("version {}, and this program reads {VERSION}", state.version))
        .help("go on with the hypersonic that wrote it, or use another --work"))
}
