//! `devices`: what models can run on here.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use hs_runtime::Availability;
use hs_xrt::pcie::{self, Card, Role};
use serde_json::{Value, json};

use super::{Context, Report, backends, exit::Failure, table::table};

/// List what models can run on here, and why something cannot be used
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Two lists: the backends, and the cards on the PCIe bus, with what is in the way of using them.
XRT is asked in a process of its own, and needs XILINX_XRT, which its setup.sh sets. With
XCL_EMULATION_MODE set it finds emulated cards, which are not on the bus.

Examples:
  hypersonic devices --json
  hypersonic xrt-emu --devices 2 -- hypersonic devices")]
pub(crate) struct Args {
    /// Root of another sysfs
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    sysfs: PathBuf,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let _step = context.step("looking for devices");
    let found: Vec<(&str, bool, String)> = backends::registry()
        .iter()
        .map(|backend| match backend.availability() {
            Availability::Available(on) => (backend.name(), true, on),
            Availability::NotAvailable(why) => (backend.name(), false, why),
        })
        .collect();
    let cards = pcie::cards(&args.sysfs);
    let row = |(name, is, detail): &(&str, bool, String)| {
        vec![(*name).to_owned(), if *is { "yes" } else { "no" }.to_owned(), detail.clone()]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let mut text = table(&["backend", "available", "on what, or why not"], &rows);
    if cards.is_empty() {
        text.push_str("\n\nno card on the PCIe bus");
    } else {
        let rows: Vec<Vec<String>> = cards.iter().map(described).collect();
        text.push_str("\n\n");
        text.push_str(&table(&["card", "board", "platform", "W", "°C", "state"], &rows));
    }
    let listed: Vec<Value> = found
        .iter()
        .map(|(name, is, detail)| json!({ "backend": name, "available": is, "detail": detail }))
        .collect();
    let cards: Vec<Value> = cards.iter().map(card_json).collect();
    Ok(Report::new(text, json!({ "backends": listed, "cards": cards })))
}

fn address(card: &Card) -> String {
    card.bdf().map_or_else(|| "-".to_owned(), |b| b.to_string())
}

fn described(card: &Card) -> Vec<String> {
    let number = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), |n| format!("{n:.1}"));
    let text = |t: Option<&str>| t.unwrap_or("-").to_owned();
    vec![
        address(card),
        text(card.board),
        text(card.platform.as_deref()),
        number(card.watts),
        number(card.celsius),
        card.problem.as_ref().map_or_else(|| "ready".to_owned(), ToString::to_string),
    ]
}

fn card_json(card: &Card) -> Value {
    json!({
        "card": address(card),
        "board": card.board,
        "platform": card.platform,
        "interfaces": card.interfaces,
        "driver": card.function(Role::User).and_then(|f| f.driver.as_deref()),
        "power_w": card.watts,
        "temperature_c": card.celsius,
        "problem": card.problem.as_ref().map(ToString::to_string),
    })
}
