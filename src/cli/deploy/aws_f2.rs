//! `deploy aws-f2`: as far as AWS goes.

use clap::Args as ClapArgs;
use hs_xclbin::SectionKind;
use serde_json::json;

use super::{
    super::{
        Report,
        exit::{Exit, Failure},
        table::{pairs, table},
    },
    Deployed, Source,
};

/// What the platforms of F2 are called.
const PLATFORM: &str = "aws-vu47p-f2";

/// Check a bitstream for AWS F2, and say what AWS does not do with it
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// The same: nothing is ever changed
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> Result<Report, Failure> {
    let Deployed { file, bitstream, package } = args.source.open()?;
    let platform = &bitstream.design().platform;
    if !platform.replace(':', "_").contains(PLATFORM) {
        return Err(Failure::input(format!(
            "the bitstream is for the platform {}, not for AWS F2",
            platform.escape_debug()
        ))
        .help("build the package with --platform, the path of AWS' platform xilinx_aws-vu47p-f2_…"));
    }
    let dcp = bitstream.xclbin().data(SectionKind::BITSTREAM).map_or(0, <[u8]>::len);
    let step = "create";
    let why = "AWS makes no FPGA images of Vitis' xclbins for F2: its development kit builds and emulates them, and its flow \
               for images takes designs of the hardware development kit (HDK) alone";
    let instead = "put the kernel's RTL, which `build --until hw_emu` exports as .xo, into a design of the HDK on the small \
                   shell, and load that with fpga-load-local-image; or serve the package with the emulator, with the same bits";
    let rows = [
        ["check", "done", "the bitstream is the package's, and for F2"],
        ["archive", "not done", "nothing would take it"],
        [step, "not supported", "by AWS"],
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|r| r.map(str::to_owned).into()).collect();
    let mut text = pairs(&[
        ("bitstream", file.display().to_string()),
        ("package", package.dir().display().to_string()),
        ("platform", platform.escape_debug().to_string()),
        ("design checkpoint", format!("{dcp} bytes")),
    ]);
    text.push_str(&format!("\n\n{}", table(&["step", "state", ""], &rows)));
    text.push_str(&format!("\n\nstopped at '{step}': {why}.\ninstead: {instead}"));
    let json = json!({
        "bitstream": file,
        "package": package.dir(),
        "fingerprint": package.manifest().fingerprint,
        "dry_run": args.dry_run,
        "complete": false,
        "steps": rows.iter().map(|r| json!({ "step": r[0], "state": r[1].replace(' ', "_") })).collect::<Vec<_>>(),
        "unsupported": { "step": step, "why": why, "instead": instead },
    });
    Ok(Report::new(text, json).exit(Exit::Environment))
}
