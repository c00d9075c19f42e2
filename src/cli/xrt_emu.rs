//! `xrt-emu`: any program that uses XRT, with cards that are not there.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use clap::Args as ClapArgs;
use hs_compiler::diagnostic::Diagnostic;
use hs_xrt_emu::bed::{Bed, BedError, Cards, Emconfig, End, Shim};
use serde_json::json;

use super::{
    Context, Report,
    exit::{Exit, Failure},
    interrupt,
};
use crate::emulated_card::FAULTS;

/// Run a program that uses XRT with emulated cards
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
The program is any host over XRT's native or OpenCL interface; neither Vitis nor a card is needed, only XRT (Debian:
apt-get install libxrt1). It loads xclbins that `build --target emu` wrote. Its results are those of the card, bit for bit;
its times are not.

The exit code is the program's; 124 when it was killed after --timeout, 128 and the signal's number when a signal ended it.
With --json the program's standard output goes to standard error.

Faults are lines `CARD FAULT` of the file, CARD a number or *, FAULT one of hang, skip, wrong, crash, trailer, slow=20ms and
fail-load. The file is read again at each start of a kernel.

Examples:
  hypersonic xrt-emu -- ./host net_kernel.emu.xclbin
  hypersonic xrt-emu --devices 2 --timeout 60 -- ./host two
  hypersonic xrt-emu --emconfig package/build/emconfig.json --faults faults.txt -- ./host")]
pub(crate) struct Args {
    /// Cards that the program finds [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "emconfig", value_parser = clap::value_parser!(u32).range(1..=16))]
    devices: Option<u32>,
    /// File that describes the cards; `build --target emu` writes one
    #[arg(long, value_name = "FILE")]
    emconfig: Option<PathBuf>,
    /// File with faults of the cards
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Kill the program, and all that it started, when it runs longer
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Exit code of a program that took too long, as that of `timeout`.
const TIMED_OUT: u8 = 124;
/// Added to the number of the signal that ended a program, as shells do.
const SIGNALLED: i32 = 128;
const SIGINT: i32 = 2;

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let cards = match &args.emconfig {
        Some(file) if !file.is_file() => return Err(Failure::file(file, "no such file")),
        Some(file) => Cards::File(file.clone()),
        None => Cards::Of(Emconfig { cards: args.devices.unwrap_or(1), ..Emconfig::default() }),
    };
    let own = env::current_exe().map_err(|e| Failure::internal(format!("the path of this program: {e}")))?;
    interrupt::listen();
    let bed = Bed::new(&own, &cards).map_err(failure)?;
    let warning = match bed.shim() {
        Shim::Sound | Shim::Repaired => None,
        Shim::Unknown(places) => Some(Diagnostic::warning(format!(
            "XRT's libxrt_swemu.so.2 seems to have an error at {places} places, and one was expected: it is used as it is, \
             and the program may crash"
        ))),
    };
    let (program, arguments) = args.program.split_first().ok_or_else(|| Failure::usage("no program"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(faults) = &args.faults {
        // The processes of the cards may run in another folder.
        let faults = std::path::absolute(faults).map_err(|e| Failure::file(faults, e))?;
        command.env(FAULTS, faults);
    }
    if io::stdin().is_terminal() {
        // Of a process group in the background, which the program's is, a terminal is not read.
        command.stdin(Stdio::null());
    }
    if context.quiet {
        let errors = io::stderr().as_fd().try_clone_to_owned().map_err(Failure::environment)?;
        command.stdout(errors);
    }
    let end = bed.run(&mut command, args.timeout.map(Duration::from_secs), &interrupt::came).map_err(failure)?;
    let (code, text) = match end {
        End::Exit(code) => (u8::try_from(code).unwrap_or(u8::MAX), None),
        End::Signal(signal) => (signalled(signal), Some(format!("the program was ended by signal {signal}"))),
        End::Limit => (TIMED_OUT, args.timeout.map(|s| format!("the program was killed after {s} s"))),
        End::Stopped => (signalled(SIGINT), Some("the program was stopped".to_owned())),
    };
    let json = json!({
        "program": program.to_string_lossy(),
        "program_exit_code": matches!(end, End::Exit(_)).then_some(code),
        "timed_out": end == End::Limit,
    });
    let ended = text.map(Diagnostic::warning);
    Ok(Report::new("", json).exit(Exit::Program(code)).warnings(warning.into_iter().chain(ended).collect()))
}

fn signalled(signal: i32) -> u8 {
    u8::try_from(SIGNALLED + signal).unwrap_or(u8::MAX)
}

fn failure(error: BedError) -> Failure {
    match error {
        BedError::NoXrt(_) => Failure::environment(error),
        BedError::Io { .. } => Failure::environment(error),
        BedError::Start { .. } => Failure::usage(error),
    }
}
