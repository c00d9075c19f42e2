//! Runs the tasks of a build, one after the other, as far as this machine can.

use std::{
    cell::RefCell,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use hs_compiler::{
    diagnostic::Diagnostic,
    evidence::{Blame, Log, Nodes, Problem, progress},
    hls::csim::{self, CsimError},
};
use hs_package::{Package, StepEvidence, Tool};
use serde_json::{Map, Value, json};

use super::{
    super::{
        Context, backends,
        exit::{Exit, Failure},
        golden::{self, Check},
        model::Model,
        simulation::Simulation,
        tensors,
    },
    plan::{Need, Setting, Task},
    process::{self, End},
    record::{log_of, record},
    state::{self, Folder},
    tools::{self, Tools},
};

/// How a task came out; a failure ends the build instead.
pub(super) enum Outcome {
    /// It ran.
    Done { seconds: f64, text: String, evidence: Option<Box<StepEvidence>> },
    /// It ran before, on the same inputs.
    UpToDate { evidence: Option<Box<StepEvidence>> },
    /// It would run.
    Planned,
    /// It cannot run here, or one before it cannot.
    NotBuilt { missing: Vec<String> },
}

impl Outcome {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::UpToDate { .. })
    }

    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::UpToDate { .. } => "up to date",
            Self::Planned => "planned",
            Self::NotBuilt { .. } => "not built",
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Done { seconds, text, .. } if text.is_empty() => format!("{seconds:.1} s"),
            Self::Done { seconds, text, .. } => format!("{seconds:.1} s: {text}"),
            Self::UpToDate { .. } | Self::Planned => String::new(),
            Self::NotBuilt { missing } => missing.first().cloned().unwrap_or_default(),
        }
    }

    pub(super) fn missing(&self) -> &[String] {
        match self {
            Self::NotBuilt { missing } => missing,
            Self::Done { .. } | Self::UpToDate { .. } | Self::Planned => &[],
        }
    }

    pub(super) fn evidence(&self) -> Option<&StepEvidence> {
        match self {
            Self::Done { evidence, .. } | Self::UpToDate { evidence } => evidence.as_deref(),
            Self::Planned | Self::NotBuilt { .. } => None,
        }
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let seconds = if let Self::Done { seconds, .. } = self { Some(*seconds) } else { None };
        let all = json!({
            "state": self.state().replace(' ', "_"),
            "seconds": seconds,
            "missing": self.missing(),
            "evidence": self.evidence(),
        });
        if let Value::Object(map) = all { map } else { Map::new() }
    }
}

/// A build.
pub(super) struct Run<'a> {
    pub(super) package: &'a Package,
    pub(super) model: &'a Model,
    pub(super) setting: &'a Setting<'a>,
    pub(super) tools: &'a Tools,
    pub(super) rows: usize,
    /// For each tool.
    pub(super) limit: Option<Duration>,
    pub(super) context: &'a Context,
    /// What the tools warned of.
    pub(super) warned: RefCell<Vec<Diagnostic>>,
}

impl Run<'_> {
    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        self.warned.borrow().clone()
    }

    /// What a run would do.
    pub(super) fn look(&self, tasks: &[Task]) -> Vec<(Task, Outcome)> {
        let mut stale = Vec::new();
        let look = |task: &Task| {
            let fresh = task.reads().is_none_or(|t| !stale.contains(&t));
            let done = *task != Task::Csim
                && fresh
                && state::was_done(self.package, *task, &self.inputs(*task), &self.setting.kernel.name);
            let outcome = if done {
                Outcome::UpToDate { evidence: self.evidence(*task) }
            } else {
                stale.push(*task);
                match self.missing(*task) {
                    missing if missing.is_empty() => Outcome::Planned,
                    missing => Outcome::NotBuilt { missing },
                }
            };
            (*task, outcome)
        };
        tasks.iter().map(look).collect()
    }

    /// Runs what can be run.
    pub(super) fn run(&self, tasks: &[Task]) -> Result<Vec<(Task, Outcome)>, Failure> {
        let mut folder = Folder::open(self.package)?;
        let (mut ran, mut outcomes, mut stuck) = (Vec::new(), Vec::new(), false);
        for task in tasks {
            let missing = self.missing(*task);
            let fresh = task.reads().is_none_or(|t| !ran.contains(&t));
            let inputs = self.inputs(*task);
            let kernel = &self.setting.kernel.name;
            let before = folder.done(self.package, *task, &inputs, kernel);
            let outcome = if *task != Task::Csim && fresh && before.is_some() && !stuck {
                Outcome::UpToDate { evidence: self.evidence(*task) }
            } else if stuck || !missing.is_empty() {
                stuck = true;
                Outcome::NotBuilt { missing }
            } else {
                ran.push(*task);
                let begin = Instant::now();
                let (text, evidence) = match task {
                    Task::Csim => (self.simulate()?, None),
                    Task::Csynth | Task::Cosim | Task::Xo | Task::HwEmu | Task::Hw => {
                        folder.forget(*task)?;
                        self.work(&folder, *task)?;
                        let evidence = self.record(*task)?;
                        let seconds = begin.elapsed().as_secs_f64();
                        folder.record(self.package, *task, inputs, kernel, seconds)?;
                        (String::new(), evidence.map(Box::new))
                    }
                };
                Outcome::Done { seconds: begin.elapsed().as_secs_f64(), text, evidence }
            };
            outcomes.push((*task, outcome));
        }
        Ok(outcomes)
    }

    /// The generated C++ against the emulator, on random codes.
    fn simulate(&self) -> Result<String, Failure> {
        let step = self.context.step("csim: compiling the C++");
        let emulator = backends::emulator(self.model)?;
        let codes = golden::random(&self.model.program, 0, self.rows)?;
        let simulation = Simulation::new(self.model, &step)?;
        step.say("csim: simulating");
        let expected = tensors::run(emulator.as_ref(), &codes, true)?;
        let found = tensors::run(&simulation, &codes, true)?;
        let check = Check::between("C simulation", emulator.outputs(), &expected, &found);
        if check.mismatches > 0 {
            let message = format!("csim: the C simulation is not the emulator: {}", check.text());
            return Err(Failure::of(Exit::Mismatch, Diagnostic::error(message).help("please report it, with the package")));
        }
        Ok(check.text())
    }

    /// Runs the commands of a task.
    fn work(&self, folder: &Folder, task: Task) -> Result<(), Failure> {
        let step = self.context.step(format!("{}: starting", task.name()));
        let log = log_of(self.package, task);
        match fs::remove_file(&log) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Failure::file(&log, e)),
            Ok(()) | Err(_) => {}
        }
        let nodes = self.nodes();
        let mut heard = Log::default();
        for words in self.setting.commands(task) {
            let Some((program, arguments)) = words.split_first() else { continue };
            let mut command = Command::new(program);
            command.args(arguments).current_dir(&folder.dir);
            let end = process::run(&mut command, &log, self.limit, &mut |line| {
                heard.line(line, &nodes);
                if let Some(what) = progress(line) {
                    step.say(format!("{}: {}", task.name(), what.chars().take(80).collect::<String>()));
                }
            });
            let end = end.map_err(|e| Failure::environment(format!("{}: cannot run {program}: {e}", task.name())))?;
            self.judge(task, program, end, &heard)?;
        }
        let warn = |p: &Problem| diagnose(task, p);
        let warnings = heard.warnings.iter().map(warn);
        self.warned.borrow_mut().extend(warnings.map(|d| Diagnostic { severity: hs_compiler::diagnostic::Severity::Warning, ..d }));
        // Some versions end well after a simulation that failed; and what was ended well must be there.
        let lacks = task.leaves(&self.setting.kernel.name).into_iter().find(|name| !folder.dir.join(name).exists());
        match (lacks, heard.cause()) {
            (None, Some(cause)) if cause.blame == Some(Blame::Mismatch) => Err(self.failed(task, cause)),
            (None, _) => Ok(()),
            (Some(_), Some(cause)) => Err(self.failed(task, cause)),
            (Some(name), None) => Err(Failure::environment(format!("{}: the tool ended well and left no {name}", task.name()))
                .help(self.see_log(task))),
        }
    }

    fn judge(&self, task: Task, program: &str, end: End, heard: &Log) -> Result<(), Failure> {
        let name = task.name();
        let stopped = |message: String, help: &str| {
            Err(Failure::environment(message).help(format!("{help}; {}", self.see_log(task))))
        };
        match (end, heard.cause()) {
            (End::Ok, _) => Ok(()),
            (End::Interrupted, _) => stopped(
                format!("{name}: interrupted; {program} was stopped"),
                "the same command goes on from the last step that was done",
            ),
            (End::Timeout, _) => {
                let seconds = self.limit.unwrap_or_default().as_secs();
                stopped(
                    format!("{name}: {program} ran longer than {seconds} s and was stopped"),
                    "a larger reuse factor makes synthesis easier; --timeout sets another limit",
                )
            }
            (End::Status(_) | End::Signal(_), Some(cause)) => Err(self.failed(task, cause)),
            (End::Signal(signal), None) => stopped(
                format!("{name}: {program} was killed by signal {signal}"),
                "memory may have run out: a larger machine, or a larger reuse factor",
            ),
            (End::Status(code), None) => {
                stopped(format!("{name}: {program} ended with status {code} and no message"), "the reason is not known")
            }
        }
    }

    fn see_log(&self, task: Task) -> String {
        format!("all that it said is in {}", log_of(self.package, task).display())
    }

    fn failed(&self, task: Task, cause: &Problem) -> Failure {
        let exit = match cause.blame {
            Some(Blame::Machine) => Exit::Environment,
            Some(Blame::Design) => Exit::Input,
            Some(Blame::Mismatch) => Exit::Mismatch,
            // What is not known may be anything; most likely the project is not as the tool wants it.
            Some(Blame::Generator) | None => Exit::Internal,
        };
        let diagnostic = diagnose(task, cause);
        let log = self.see_log(task);
        let help = match &diagnostic.help {
            Some(help) => format!("{help}; {log}"),
            None => format!("this message is not known to hypersonic: please report it; {log}"),
        };
        Failure::of(exit, diagnostic.help(help))
    }

    fn nodes(&self) -> Nodes {
        let kernel = &self.setting.kernel.name;
        Nodes::of(&self.model.program, kernel.strip_suffix("_kernel").unwrap_or(kernel))
    }

    fn record(&self, task: Task) -> Result<Option<StepEvidence>, Failure> {
        let Some(step) = task.step() else { return Ok(None) };
        let evidence = record(self.package, task, step, self.used(task), self.setting.platform, &self.nodes())?;
        if evidence.figures.passed == Some(false) {
            let message = format!("{}: the report says that RTL and C++ differ", task.name());
            let diagnostic = Diagnostic::error(message).help(self.see_log(task));
            return Err(Failure::of(Exit::Mismatch, diagnostic));
        }
        Ok(Some(evidence))
    }

    /// What an earlier run left.
    fn evidence(&self, task: Task) -> Option<Box<StepEvidence>> {
        let all = self.package.evidence().ok().flatten()?;
        all.step(task.step()?).cloned().map(Box::new)
    }

    fn used(&self, task: Task) -> Vec<Tool> {
        let Tools { hls, vpp, emconfigutil } = self.tools;
        let of = |need: &Need| match need {
            Need::Hls => hls.as_ref(),
            Need::Vpp => vpp.as_ref(),
            Need::Emconfigutil => emconfigutil.as_ref(),
            Need::Compiler | Need::Platform => None,
        };
        task.needs().iter().filter_map(of).map(|f| f.tool.clone()).collect()
    }

    fn inputs(&self, task: Task) -> String {
        let before = task.reads().map(|t| self.inputs(t));
        let versions: Vec<String> =
            self.used(task).into_iter().map(|t| format!("{} {}", t.name, t.version)).collect();
        let project = self.package.project_digest();
        state::inputs(&project, &self.setting.commands(task), &versions, before.as_deref())
    }

    /// What a task needs and this machine does not have, each with its remedy.
    fn missing(&self, task: Task) -> Vec<String> {
        const SOURCE: &str = "install Vitis and source its settings64.sh";
        let mut all = Vec::new();
        for need in task.needs() {
            match need {
                Need::Compiler => all.extend(no_compiler()),
                Need::Hls if self.tools.hls.is_none() => {
                    all.push(format!("vitis_hls (up to 2024.2) or vitis-run (after): {SOURCE}"));
                }
                Need::Vpp if self.tools.vpp.is_none() => all.push(format!("v++: {SOURCE}")),
                Need::Emconfigutil if self.tools.emconfigutil.is_none() => {
                    all.push(format!("emconfigutil: {SOURCE}"));
                }
                Need::Platform => {
                    if let Some(name) = self.setting.platform
                        && let Err(searched) = tools::platform(name)
                    {
                        let searched: Vec<_> = searched.iter().map(|p| p.display().to_string()).collect();
                        all.push(format!(
                            "the platform {name} (looked in {}): install it, or name its directory in PLATFORM_REPO_PATHS",
                            searched.join(", ")
                        ));
                    }
                }
                Need::Hls | Need::Vpp | Need::Emconfigutil => {}
            }
        }
        let at = std::path::absolute(self.package.dir()).unwrap_or_default();
        if task != Task::Csim && at.to_string_lossy().contains(char::is_whitespace) {
            all.push(format!("a path without blanks: Vitis splits its options at those of {}", at.display()));
        }
        all
    }
}

fn no_compiler() -> Option<String> {
    let compiler = std::env::var("CXX").ok().filter(|c| !c.is_empty()).unwrap_or_else(|| "g++".to_owned());
    if let Err(e) = csim::find_ap_types(None) {
        return Some(e.to_string());
    }
    let there = Command::new(&compiler).arg("--version").output().is_ok();
    (!there).then(|| CsimError::NoCompiler(compiler).to_string())
}

/// A tool's message, in our words.
fn diagnose(task: Task, problem: &Problem) -> Diagnostic {
    let id = if problem.id.is_empty() { String::new() } else { format!("[{}] ", problem.id) };
    let mut diagnostic = Diagnostic::error(format!("{}: {id}{}", task.name(), problem.text));
    diagnostic.node.clone_from(&problem.node);
    diagnostic.help = problem.advice.map(str::to_owned);
    diagnostic
}
