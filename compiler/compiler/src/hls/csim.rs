//! C simulation: compiles a project's test bench with g++ and runs it. The only module here that reads the
//! environment, touches files or starts processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hs_fixed::Format;
use hs_hw::Fingerprint;
use hs_hw::abi::{RowLayout, Trailer};
use sha2::{Digest, Sha256};

use super::{EmittedFile, KERNEL_WEIGHTS};

/// Exit status of a bench whose processes are deadlocked.
const DEADLOCK_EXIT: i32 = 66;
/// Rows of a call unless asked otherwise: some progress, and few starts of the bench.
const ROWS_A_CALL: usize = 64;

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
    /// Most rows of a call of the kernel; `None`: 64.
    pub rows_a_call: Option<usize>,
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
    /// What a kernel wrote is not what it must write: a bug of the generator.
    #[error("{}: {why}", path.display())]
    Output {
        /// The bench.
        path: PathBuf,
        /// What is wrong.
        why: String,
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

/// A kernel of a compiled bench.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    name: String,
    fingerprint: Fingerprint,
    inputs: Vec<RowLayout>,
    outputs: Vec<RowLayout>,
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
    /// Compiles the test bench of the project in `dir`: `many.cpp`, or `tb/NAME_kernel_test.cpp` with its firmware. A bench
    /// that was compiled from the same files by the same compiler is used again; it lies in `dir/.csim`.
    pub fn build(dir: &Path, options: &CsimOptions<'_>) -> Result<Self, CsimError> {
        let no_project = |why: String| CsimError::NoProject { path: dir.to_owned(), why };
        if !dir.is_dir() {
            return Err(no_project("no such directory".to_owned()));
        }
        let units = translation_units(dir)?;
        if units.is_empty() {
            return Err(no_project("it has no tb/NAME_kernel_test.cpp".to_owned()));
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
            "-Itb",
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
        let found = self.model(model)?;
        if inputs.len() != found.inputs.len() {
            return Err(CsimError::Inputs(format!(
                "the model has {} inputs, not {}",
                found.inputs.len(),
                inputs.len()
            )));
        }
        for (k, (codes, layout)) in inputs.iter().zip(&found.inputs).enumerate() {
            if codes.len() != rows * layout.elements {
                return Err(CsimError::Inputs(format!(
                    "input {k} has {} codes for {rows} rows of {}",
                    codes.len(),
                    layout.elements
                )));
            }
        }
        let call = options.rows_a_call.unwrap_or(ROWS_A_CALL).max(1);
        let mut outputs = vec![Vec::new(); found.outputs.len()];
        let mut done = 0;
        loop {
            let n = call.min(rows - done);
            let packed: Vec<Vec<u8>> = inputs
                .iter()
                .zip(&found.inputs)
                .map(|(codes, l)| l.pack(&codes[done * l.elements..(done + n) * l.elements]))
                .collect();
            let results = self.run_packed(model, &packed, n)?;
            for ((bytes, layout), codes) in results.iter().zip(&found.outputs).zip(&mut outputs) {
                let (rows, trailer) = bytes.split_at(layout.bytes(n));
                Trailer::new(n as u32, &found.fingerprint).check(trailer).map_err(|e| self.wrong(e))?;
                codes.extend(layout.unpack(rows, n).map_err(|e| self.wrong(e))?);
            }
            done += n;
            if let Some(tell) = options.progress {
                tell(Progress::Rows(done));
            }
            if done == rows {
                return Ok(outputs);
            }
        }
    }

    /// One call of a model's kernel. `inputs`: packed rows, zero-padded to 64 bytes, a buffer a model input; the result
    /// likewise a buffer a model output, its trailer included and not checked.
    pub fn run_packed(
        &self,
        model: &str,
        inputs: &[Vec<u8>],
        rows: usize,
    ) -> Result<Vec<Vec<u8>>, CsimError> {
        let found = self.model(model)?;
        let scratch = Scratch::new(self.program.parent().unwrap_or(Path::new(".")))?;
        let mut command = Command::new(&self.program);
        command.arg(model).arg(rows.to_string()).arg(&self.weights);
        for (k, bytes) in inputs.iter().enumerate() {
            let path = scratch.0.join(format!("in{k}.bin"));
            std::fs::write(&path, bytes).map_err(io(&path))?;
            command.arg(path);
        }
        let outputs: Vec<PathBuf> =
            (0..found.outputs.len()).map(|k| scratch.0.join(format!("out{k}.bin"))).collect();
        command.args(&outputs);
        run(&mut command, &self.program)?;
        let sizes = found.outputs.iter().map(|l| l.output_bytes(rows));
        let read = |(path, size): (&PathBuf, usize)| {
            let bytes = std::fs::read(path).map_err(io(path))?;
            if bytes.len() == size {
                Ok(bytes)
            } else {
                Err(self.wrong("an output has not the expected size"))
            }
        };
        outputs.iter().zip(sizes).map(read).collect()
    }

    fn model(&self, name: &str) -> Result<&Model, CsimError> {
        let found = self.models.iter().find(|m| m.name == name);
        found.ok_or_else(|| CsimError::Inputs(format!("the bench has no model '{name}'")))
    }

    fn wrong(&self, why: impl ToString) -> CsimError {
        CsimError::Output { path: self.program.clone(), why: why.to_string() }
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

fn run(command: &mut Command, program: &Path) -> Result<(), CsimError> {
    let output = command.stdin(Stdio::null()).output().map_err(io(program))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(DEADLOCK_EXIT) => Err(CsimError::Deadlock(stderr)),
        _ => Err(CsimError::Run { status: output.status.to_string(), stderr: head(&stderr, 4000) }),
    }
}

/// The models that a compiled bench lists when it is called without arguments.
fn models(program: &Path) -> Result<Vec<Model>, CsimError> {
    let output = Command::new(program).output().map_err(io(program))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let parse = |line: &str| {
        let mut words = line.strip_prefix("model ")?.split(' ');
        let (name, fingerprint) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let (inputs, outputs): (usize, usize) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let mut ports = words.map(port).collect::<Option<Vec<RowLayout>>>()?;
        if ports.len() != inputs + outputs {
            return None;
        }
        let outputs = ports.split_off(inputs);
        Some(Model { name, fingerprint, inputs: ports, outputs })
    };
    let found: Vec<Model> = text.lines().filter_map(parse).collect();
    if found.is_empty() {
        return Err(CsimError::Run { status: output.status.to_string(), stderr: head(&text, 4000) });
    }
    Ok(found)
}

/// The rows of a port, as a bench writes them: elements, bytes of one, signed or unsigned.
fn port(text: &str) -> Option<RowLayout> {
    let (elements, rest) = text.split_once('x')?;
    let (bytes, signed) = match rest.strip_suffix('s') {
        Some(bytes) => (bytes, true),
        None => (rest.strip_suffix('u')?, false),
    };
    let width = 8 * bytes.parse::<u32>().ok().filter(|b| [1, 2, 4, 8].contains(b))?;
    Some(RowLayout::new(elements.parse().ok()?, Format::new(signed, width, 0).ok()?))
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
        if let Some(kernel) = file.strip_suffix("_test.cpp") {
            units.push(Path::new("tb").join(file));
            units.push(Path::new("firmware").join(format!("{kernel}.cpp")));
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
