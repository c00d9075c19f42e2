//! `deploy alveo`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use hs_backend_xrt::shell;
use hs_bitstream::Refusal;
use hs_xrt::pcie::{self, Bdf, Card};
use serde_json::json;

use super::{
    super::{
        Context, Report,
        bitstream::{Registered, describe, register},
        exit::Failure,
    },
    Source,
};

/// Check a bitstream against the shell of a card of this machine, and register it
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// PCIe address of the card, as `xbutil examine` shows it [default: all that are here; one must take it]
    #[arg(long, value_name = "BDF")]
    card: Option<Bdf>,
    /// Check, and register nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: Registered,
    /// Root of another sysfs
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    sysfs: PathBuf,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Report, Failure> {
    let deployed = args.source.open()?;
    if let Some(agfi) = deployed.bitstream.xclbin().agfi() {
        return Err(Failure::input(format!(
            "{} is an .awsxclbin: AWS has its bits, as the image {agfi}",
            deployed.file.display()
        ))
        .help("a card of one's own needs the xclbin that is linked for its platform"));
    }
    let mut cards = pcie::cards(&args.sysfs);
    if let Some(bdf) = args.card {
        let here: Vec<String> = cards.iter().filter_map(Card::bdf).map(|b| b.to_string()).collect();
        cards.retain(|c| c.has(bdf));
        if cards.is_empty() {
            let here = if here.is_empty() { "none".to_owned() } else { here.join(", ") };
            return Err(Failure::environment(format!("there is no card {bdf}; here are: {here}")));
        }
    }
    let elsewhere = "`hypersonic bitstream register` registers it for cards of other machines";
    if cards.is_empty() {
        return Err(Failure::environment("this machine shows no card on its PCIe bus").help(elsewhere));
    }
    let mut takes = Vec::new();
    let mut refused: Vec<Refusal> = Vec::new();
    let mut broken = Vec::new();
    for card in &cards {
        let shell = shell(card);
        match (&card.problem, deployed.bitstream.check_shell(&shell)) {
            (Some(problem), _) => broken.push(format!("{}: {problem}", shell.card)),
            (None, Ok(())) => takes.push((card, shell)),
            (None, Err(refusal)) => refused.push(refusal),
        }
    }
    let Some((card, first)) = takes.first() else {
        // A card that works and has another shell says more than one that does not work.
        return Err(match refused.into_iter().next() {
            Some(refusal) => refusal.into(),
            None => Failure::environment(broken.join("\n")).help(elsewhere),
        });
    };
    let known = if first.interfaces.is_empty() { "not known; XRT compares it when it loads" } else { "fits" };
    let board = card.board.unwrap_or("a card");
    let mut text = format!(
        "{board} at {}\nplatform  {}\nshell     {known}",
        takes.iter().map(|(_, s)| s.card.as_str()).collect::<Vec<_>>().join(", "),
        first.platform.as_deref().unwrap_or("not known"),
    );
    let fits: Vec<_> = takes
        .iter()
        .map(|(c, s)| json!({ "card": s.card, "board": c.board, "platform": s.platform, "interfaces": s.interfaces }))
        .collect();
    let registered = if args.dry_run {
        None
    } else {
        let none = (None, None);
        let manifest =
            register(&deployed.file, &deployed.bitstream, &deployed.package, none, &args.how, context)?;
        let (described, json) = describe(&manifest, &args.how.registry.open()?);
        text.push_str(&format!("\n\n{described}"));
        Some(json)
    };
    let json = json!({
        "bitstream": deployed.file,
        "package": deployed.package.dir(),
        "fingerprint": deployed.package.manifest().fingerprint,
        "dry_run": args.dry_run,
        "cards": fits,
        "registered": registered,
    });
    Ok(Report::new(text, json))
}
