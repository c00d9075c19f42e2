//! The command line: one file a verb.
//!
//! A verb takes its arguments and a [`Context`] and gives a [`Report`] or a [`Failure`]. Only this module
//! writes to standard output, once, at the end: text for a person, or one JSON object with `--json`.

mod backends;
mod estimate;
mod exit;
mod interrupt;
mod model;
mod options;
mod remote;
mod simulation;
mod table;
mod target;
mod tensors;

use std::{
    borrow::Cow,
    ffi::OsString,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use hs_compiler::diagnostic::Diagnostic;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use exit::{EXIT_CODES, Exit, Failure, render};

/// From an ONNX model to a fixed-point FPGA accelerator, with the same bits at every stage.
#[derive(Debug, Parser)]
#[command(name = "hypersonic", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON object instead of text, errors too
    #[arg(long, global = true)]
    json: bool,
}

macro_rules! verbs {
    ($($variant:ident $module:ident;)*) => {
        $(mod $module;)*

        #[derive(Debug, Subcommand)]
        enum Verb {
            $($variant(Box<$module::Args>),)*
        }

        impl Verb {
            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($module),)* }
            }

            fn run(self, context: &Context) -> Result<Report, Failure> {
                match self { $(Self::$variant(args) => $module::run(*args, context),)* }
            }
        }
    };
}

verbs! {
    Config config;
    Compile compile;
    Emulate emulate;
    Csim csim;
    Run run;
    Check check;
    Inspect inspect;
    Profile profile;
    Golden golden;
    Simulate simulate;
    Build build;
    Bitstream bitstream;
    Devices devices;
    XrtEmu xrt_emu;
    Deploy deploy;
    Serve serve;
    Infer infer;
    Bench bench;
}

/// What every verb may use.
struct Context {
    quiet: bool,
}

impl Context {
    /// Shows `what` on a terminal's standard error while the result lives.
    fn step(&self, what: impl Into<String>) -> Step {
        let bar = if self.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| {
            // The template is a constant; the default style is as good.
            ProgressStyle::default_spinner()
        }));
        bar.set_message(what.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        Step(bar)
    }
}

/// A step under way.
struct Step(ProgressBar);

impl Step {
    /// What is being done now.
    fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What a verb has to say.
struct Report {
    /// How the run ends.
    exit: Exit,
    /// For a person, without a final newline.
    text: String,
    /// For machines; the verb's own keys.
    json: Map<String, Value>,
    /// Said before the text.
    warnings: Vec<Diagnostic>,
}

impl Report {
    /// A run that went well. `json` must be an object.
    fn new(text: impl Into<String>, json: Value) -> Self {
        let json = if let Value::Object(map) = json { map } else { Map::new() };
        Self { exit: Exit::Ok, text: text.into(), json, warnings: Vec::new() }
    }

    fn warnings(mut self, warnings: Vec<Diagnostic>) -> Self {
        self.warnings = warnings;
        self
    }

    fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    fn into_json(self, verb: &str) -> Value {
        let mut all = Map::new();
        all.insert("ok".into(), (self.exit.code() == 0).into());
        all.insert("exit_code".into(), self.exit.code().into());
        all.insert("verb".into(), verb.into());
        all.insert("warnings".into(), serde_json::to_value(self.warnings).unwrap_or_default());
        all.extend(self.json);
        Value::Object(all)
    }
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|a| a == "--json");
    let cli = match Cli::try_parse_from(arguments()) {
        Ok(cli) => cli,
        Err(e) if wants_json && e.use_stderr() => {
            return fail(&Failure::usage(e.to_string().trim_end()), true);
        }
        Err(e) => e.exit(),
    };
    let (verb, json) = (cli.verb.name(), cli.json);
    let context = Context { quiet: json };
    match catch_unwind(AssertUnwindSafe(|| cli.verb.run(&context))) {
        Ok(Ok(report)) => {
            let exit = report.exit;
            if json {
                print(&report.into_json(verb));
            } else {
                if !report.warnings.is_empty() {
                    complain(&render("warning", &report.warnings));
                }
                if !report.text.is_empty() {
                    write_out(&report.text);
                }
            }
            exit.into()
        }
        Ok(Err(failure)) => fail(&failure, json),
        // The panic's own message is on standard error already.
        Err(_) => fail(&Failure::internal("the program stopped unexpectedly"), json),
    }
}

/// The command line; under the name `tritonserver` the program serves.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().and_then(|a| Path::new(a).file_stem()?.to_str());
    if called == Some("tritonserver") {
        arguments.insert(1, "serve".into());
    }
    arguments
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    if json {
        print(&failure.json());
    } else {
        complain(&failure.to_string());
    }
    failure.exit().into()
}

fn print(value: &Value) {
    write_out(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A reader that closes the pipe early is no error.
fn write_out(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
