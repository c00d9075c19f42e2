//! C simulation: compiles a project's test bench with g++ and runs it. The only module here that reads the
//! environment, touches files or starts processes.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::{EmittedFile, KERNEL_WEIGHTS};

/// Exit status of a bench whose processes are deadlocked.
const DEADLOCK_EXIT: i32 = 66;

/// What a simulation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// g++ runs.
    Compiling,
    /// Rows done so far.
    Rows(usize),
}

/// How to simulate.
#[derive(Clone, Copy, Default)]
pub struct CsimOptions<'a> {
    /// Directory of `ap_fixed.h`; `None`: `HYPERSONIC_AP_TYPES`, else the cache.
    pub ap_types: Option<&'a Path>,
    /// g++'s `-O` level; `None`: 1.
    pub optimise: Option<u8>,
    /// Told about each step.
    pub progress: Option<&'a dyn Fn(Progress)>,
}

/// Why a simulation failed.
#[derive(Debug, thiserror::Error)]
pub enum CsimError {
    /// No g++.
    #[error("C simulation needs g++, and '{0}' cannot be started; install it (Debian: apt-get install g++)")]
    NoCompiler(String),
    /// No `ap_fixed.h`.
    #[error(
        "C simulation needs Xilinx's open ap_types headers, and there is no ap_fixed.h in {}; run \
         scripts/fetch-ap-types, or set HYPERSONIC_AP_TYPES to their directory", .0.display()
    )]
    NoHeaders(PathBuf),
    /// No test bench.
    #[error("{} is no HLS project: {why}", path.display())]
    NoProject {
        /// The directory.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// g++ refused the project: a bug of the generator.
    #[error("g++ cannot compile the project:\n{0}")]
    Compile(String),
    /// The processes wait for each other for ever.
    #[error("the design deadlocks: a FIFO is too small\n{0}")]
    Deadlock(String),
    /// The bench failed otherwise.
    #[error("the test bench ended with {status}:\n{stderr}")]
    Run {
        /// Exit status.
        status: String,
        /// What it wrote.
        stderr: String,
    },
    /// Inputs that are not rows × elements codes, or the wrong number of them.
    #[error("{0}")]
    Inputs(String),
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CsimError {
    let path = path.to_owned();
    |source| CsimError::Io { path, source }
}

/// Writes emitted files below `dir`, creating directories.
pub fn write(files: &[EmittedFile], dir: &Path) -> Result<(), CsimError> {
    for file in files {
        let path = dir.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io(parent))?;
        }
        std::fs::write(&path, &file.bytes).map_err(io(&path))?;
    }
    Ok(())
}

/// Directory of `ap_fixed.h`: `given`, else `HYPERSONIC_AP_TYPES`, else the cache directory that
/// `scripts/fetch-ap-types` fills.
pub fn find_ap_types(given: Option<&Path>) -> Result<PathBuf, CsimError> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = || {
        let home = var("HOME").unwrap_or_default().join(".cache");
        let base = var("HYPERSONIC_CACHE")
            .unwrap_or_else(|| var("XDG_CACHE_HOME").unwrap_or(home).join("hypersonic"));
        base.join("ap_types-1.3.0")
    };
    let dir = given.map(Path::to_owned).or_else(|| var("HYPERSONIC_AP_TYPES")).unwrap_or_else(cache);
    if dir.join("ap_fixed.h").is_file() { Ok(dir) } else { Err(CsimError::NoHeaders(dir)) }
}

/// A model of a compiled bench.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    name: String,
    inputs: usize,
    outputs: usize,
}

/// A compiled test bench.
#[derive(Debug)]
pub struct Bench {
    program: PathBuf,
    weights: PathBuf,
    models: Vec<Model>,
}

/// Compiles the project in `dir` (or finds it compiled) and runs `rows` rows through it. `inputs`: a vector a model
/// input, rows × elements codes in hardware order; the result likewise a vector a model output.
pub fn build_and_run(
    dir: &Path,
    inputs: &[Vec<i64>],
    rows: usize,
    options: &CsimOptions<'_>,
) -> Result<Vec<Vec<i64>>, CsimError> {
    let bench = Bench::build(dir, options)?;
    let model = bench.models.first().map(|m| m.name.clone()).unwrap_or_default();
    bench.run(&model, inputs, rows, options)
}

impl Bench {
    /// Compiles the test bench of the project in `dir`: `many.cpp`, or `tb/NAME_test.cpp` with its firmware. A bench
    /// that was compiled from the same files by the same compiler is used again; it lies in `dir/.csim`.
    pub fn build(dir: &Path, options: &CsimOptions<'_>) -> Result<Self, CsimError> {
        let no_project = |why: String| CsimError::NoProject { path: dir.to_owned(), why };
        if !dir.is_dir() {
            return Err(no_project("no such directory".to_owned()));
        }
        let units = translation_units(dir)?;
        if units.is_empty() {
            return Err(no_project("it has no tb/NAME_test.cpp".to_owned()));
        }
        let headers = find_ap_types(options.ap_types)?;
        let compiler =
            std::env::var("CXX").ok().filter(|c| !c.is_empty()).unwrap_or_else(|| "g++".to_owned());
        let version = Command::new(&compiler)
            .arg("--version")
            .output()
            .map_err(|_| CsimError::NoCompiler(compiler.clone()))?
            .stdout;
        let flags: Vec<String> = [
            "-std=c++14",
            &format!("-O{}", options.optimise.unwrap_or(1)),
            // The headers assert that a cast drops no more bits than its source has, and then handle that case.
            "-DNDEBUG",
            "-w",
            "-I.",
            "-Itb/sim",
            "-Ifirmware",
            "-isystem",
        ]
        .map(str::to_owned)
        .into();
        let mut hash = Sha256::new();
        hash.update(&version);
        hash.update(flags.join(" "));
        hash.update(headers.as_os_str().as_encoded_bytes());
        digest_sources(dir, dir, &mut hash)?;
        let key: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        let build = dir.join(".csim");
        let program = build.join(format!("csim-{key}"));
        if !program.is_file() {
            if let Some(tell) = options.progress {
                tell(Progress::Compiling);
            }
            std::fs::create_dir_all(&build).map_err(io(&build))?;
            let fresh = build.join(format!("csim-{key}.{}", std::process::id()));
            // The compiler runs in the project, so its paths must not be relative to elsewhere.
            let absolute = |p: &Path| std::path::absolute(p).map_err(io(p));
            let output = Command::new(&compiler)
                .current_dir(dir)
                .args(&flags)
                .arg(absolute(&headers)?)
                .args(&units)
                .arg("-o")
                .arg(absolute(&fresh)?)
                .output()
                .map_err(|_| CsimError::NoCompiler(compiler.clone()))?;
            if !output.status.success() {
                return Err(CsimError::Compile(head(&String::from_utf8_lossy(&output.stderr), 4000)));
            }
            std::fs::rename(&fresh, &program).map_err(io(&program))?;
        }
        let models = models(&program)?;
        Ok(Self { program, weights: dir.join(KERNEL_WEIGHTS), models })
    }

    /// Runs a model of the bench. Codes as for [`build_and_run`].
    pub fn run(
        &self,
        model: &str,
        inputs: &[Vec<i64>],
        rows: usize,
        options: &CsimOptions<'_>,
    ) -> Result<Vec<Vec<i64>>, CsimError> {
        let Some(found) = self.models.iter().find(|m| m.name == model) else {
            return Err(CsimError::Inputs(format!("the bench has no model '{model}'")));
        };
        if inputs.len() != found.inputs {
            return Err(CsimError::Inputs(format!(
                "the model has {} inputs, not {}",
                found.inputs,
                inputs.len()
            )));
        }
        if let Some(k) = inputs.iter().position(|v| v.len().checked_rem(rows).unwrap_or(v.len()) != 0) {
            return Err(CsimError::Inputs(format!(
                "input {k} has {} codes for {rows} rows",
                inputs[k].len()
            )));
        }
        let scratch = Scratch::new(self.program.parent().unwrap_or(Path::new(".")))?;
        let mut command = Command::new(&self.program);
        command.arg(model).arg(rows.to_string()).arg(&self.weights);
        for (k, codes) in inputs.iter().enumerate() {
            let path = scratch.0.join(format!("in{k}.bin"));
            let bytes: Vec<u8> = codes.iter().flat_map(|c| c.to_le_bytes()).collect();
            std::fs::write(&path, bytes).map_err(io(&path))?;
            command.arg(path);
        }
        let outputs: Vec<PathBuf> =
            (0..found.outputs).map(|k| scratch.0.join(format!("out{k}.bin"))).collect();
        command.args(&outputs);
        run(&mut command, &self.program, options)?;
        outputs
            .iter()
            .map(|path| {
                let bytes = std::fs::read(path).map_err(io(path))?;
                let (codes, _) = bytes.as_chunks::<8>();
                Ok(codes.iter().map(|c| i64::from_le_bytes(*c)).collect())
            })
            .collect()
    }
}

/// A directory for one run's files, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(base: &Path) -> Result<Self, CsimError> {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = base.join(format!("run-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(io(&dir))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command, program: &Path, options: &CsimOptions<'_>) -> Result<(), CsimError> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .map_err(io(program))?;
    let stderr = child.stderr.take();
    // Both pipes are drained, or a full one would stop the bench.
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = stderr {
            let _ = pipe.read_to_string(&mut text);
        }
        text
    });
    if let Some(pipe) = child.stdout.take() {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let (Some(tell), Some(n)) =
                (options.progress, line.strip_prefix("rows ").and_then(|n| n.parse().ok()))
            {
                tell(Progress::Rows(n));
            }
        }
    }
    let status = child.wait().map_err(io(program))?;
    let stderr = errors.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(DEADLOCK_EXIT) {
        return Err(CsimError::Deadlock(stderr));
    }
    Err(CsimError::Run { status: status.to_string(), stderr: head(&stderr, 4000) })
}

/// The models that a compiled bench lists when it is called without arguments.
fn models(program: &Path) -> Result<Vec<Model>, CsimError> {
    let output = Command::new(program).output().map_err(io(program))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let parse = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("model ")?.split_once(": ")?;
        let (inputs, rest) = rest.split_once(" inputs, ")?;
        let outputs = rest.strip_suffix(" outputs")?;
        Some(Model { name: name.to_owned(), inputs: inputs.parse().ok()?, outputs: outputs.parse().ok()? })
    };
    let found: Vec<Model> = text.lines().filter_map(parse).collect();
    if found.is_empty() {
        return Err(CsimError::Run { status: output.status.to_string(), stderr: head(&text, 4000) });
    }
    Ok(found)
}

fn head(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, CsimError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io(dir))? {
        paths.push(entry.map_err(io(dir))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Sources to compile, relative to the project.
fn translation_units(dir: &Path) -> Result<Vec<PathBuf>, CsimError> {
    if dir.join("many.cpp").is_file() {
        return Ok(vec!["many.cpp".into()]);
    }
    let mut units = Vec::new();
    let tb = dir.join("tb");
    if !tb.is_dir() {
        return Ok(units);
    }
    for path in entries(&tb)? {
        let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(top) = file.strip_suffix("_test.cpp") {
            units.push(Path::new("tb").join(file));
            units.push(Path::new("firmware").join(format!("{top}.cpp")));
        }
    }
    Ok(units)
}

/// Adds every C++ file below `dir` to `hash`, with its path.
fn digest_sources(root: &Path, dir: &Path, hash: &mut Sha256) -> Result<(), CsimError> {
    for path in entries(dir)? {
        if path.is_dir() {
            if path.file_name().is_none_or(|n| n != ".csim") {
                digest_sources(root, &path, hash)?;
            }
        } else if path.extension().is_some_and(|e| e == "h" || e == "cpp") {
            let bytes = std::fs::read(&path).map_err(io(&path))?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
    }
    Ok(())
}
