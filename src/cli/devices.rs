//! `devices`: what models can run on here.

use clap::Args as ClapArgs;
use hs_runtime::Availability;
use serde_json::json;

use super::{Context, Report, backends, exit::Failure, table::table};

/// List what models can run on here, and why something cannot be used
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Cards are looked for through XRT, in a process of its own: it needs XILINX_XRT, which XRT's setup.sh sets. With
XCL_EMULATION_MODE set, XRT finds emulated cards instead.

Examples:
  hypersonic devices
  hypersonic --json devices")]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, context: &Context) -> Result<Report, Failure> {
    let _step = context.step("looking for devices");
    let found: Vec<(&str, bool, String)> = backends::registry()
        .iter()
        .map(|backend| match backend.availability() {
            Availability::Available(on) => (backend.name(), true, on),
            Availability::NotAvailable(why) => (backend.name(), false, why),
        })
        .collect();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(name, is, detail)| {
            vec![(*name).to_owned(), if *is { "yes" } else { "no" }.to_owned(), detail.clone()]
        })
        .collect();
    let listed: Vec<_> = found
        .iter()
        .map(|(name, is, detail)| json!({ "backend": name, "available": is, "detail": detail }))
        .collect();
    Ok(Report::new(table(&["backend", "available", "on what, or why not"], &rows), json!({ "backends": listed })))
}
