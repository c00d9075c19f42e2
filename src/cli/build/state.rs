//! What was built before: a task whose inputs and outputs are as they were is not run again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use hs_package::{BUILD, FileEntry, Package, sha256};
use serde::{Deserialize, Serialize};

use super::{super::exit::Failure, plan::Task};

const STATE: &str = "state.json";
const LOCK: &str = "lock";
/// Version of the file; another one's is as good as none.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    tasks: BTreeMap<String, Done>,
}

/// A task that went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Digest of all that it read.
    inputs: String,
    /// The files that it left; directories have no digest.
    files: Vec<FileEntry>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// The build folder of a package, held by this process alone.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    content: Content,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and locks it.
    pub(super) fn open(package: &Package) -> Result<Self, Failure> {
        let dir = package.dir().join(BUILD);
        fs::create_dir_all(&dir).map_err(|e| Failure::file(&dir, e))?;
        // The tools get along with links to nowhere else.
        let dir = dir.canonicalize().map_err(|e| Failure::file(&dir, e))?;
        let at = dir.join(LOCK);
        let lock = File::options().create(true).append(true).open(&at).map_err(|e| Failure::file(&at, e))?;
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            return Err(Failure::environment(format!("another build works in {}", dir.display()))
                .help("wait for it to end, or stop it"));
        }
        let content = read(&dir).unwrap_or_else(|| Content { version: VERSION, tasks: BTreeMap::new() });
        Ok(Self { dir, content, _lock: lock })
    }

    /// What a task with these inputs did before, if its output is still there.
    pub(super) fn done(&self, package: &Package, task: Task, inputs: &str, kernel: &str) -> Option<&Done> {
        find(&self.content, package, task, inputs, kernel)
    }

    /// Remembers that a task went well.
    pub(super) fn record(
        &mut self,
        package: &Package,
        task: Task,
        inputs: String,
        kernel: &str,
        seconds: f64,
    ) -> Result<(), Failure> {
        let files = left(package, task, kernel)
            .map_err(|path| Failure::internal(format!("{} ended well and left no {path}", task.name())))?;
        self.content.tasks.insert(task.name().to_owned(), Done { inputs, files, seconds });
        self.write()
    }

    /// Forgets a task before it runs again.
    pub(super) fn forget(&mut self, task: Task) -> Result<(), Failure> {
        match self.content.tasks.remove(task.name()) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    fn write(&self) -> Result<(), Failure> {
        let (at, new) = (self.dir.join(STATE), self.dir.join("state.json.new"));
        let text = serde_json::to_vec_pretty(&self.content).map_err(Failure::internal)?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, &at)).map_err(|e| Failure::file(&at, e))
    }
}

/// As [`Folder::done`], without making or locking the folder.
pub(super) fn was_done(package: &Package, task: Task, inputs: &str, kernel: &str) -> bool {
    read(&package.dir().join(BUILD)).is_some_and(|c| find(&c, package, task, inputs, kernel).is_some())
}

fn read(dir: &Path) -> Option<Content> {
    let content: Content = serde_json::from_slice(&fs::read(dir.join(STATE)).ok()?).ok()?;
    (content.version == VERSION).then_some(content)
}

fn find<'a>(content: &'a Content, package: &Package, task: Task, inputs: &str, kernel: &str) -> Option<&'a Done> {
    let done = content.tasks.get(task.name())?;
    let same = done.inputs == inputs && left(package, task, kernel).is_ok_and(|files| files == done.files);
    same.then_some(done)
}

/// What a task left, or the name of what is not there.
fn left(package: &Package, task: Task, kernel: &str) -> Result<Vec<FileEntry>, String> {
    let entry = |name: String| {
        let path = Path::new(BUILD).join(&name);
        let at = package.dir().join(&path);
        if at.is_dir() {
            return Ok(FileEntry { path: format!("{BUILD}/{name}"), bytes: 0, sha256: sha256(b"") });
        }
        package.describe_file(&path).map_err(|_| name)
    };
    task.leaves(kernel).into_iter().map(entry).collect()
}

/// Digest of what a task reads: the project, the commands, the versions of the tools, and the same of the task before.
pub(super) fn inputs(project: &str, commands: &[Vec<String>], versions: &[String], before: Option<&str>) -> String {
    let mut text = format!("hypersonic build {VERSION}\n{project}\n{}\n", before.unwrap_or_default());
    for words in commands.iter().chain([&versions.to_vec()]) {
        text.push_str(&format!("{words:?}\n"));
    }
    sha256(text.as_bytes())
}
