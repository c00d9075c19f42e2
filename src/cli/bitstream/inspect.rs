//! `bitstream inspect`: what a file says.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use hs_compiler::diagnostic::Diagnostic;
use hs_xclbin::{ComputeUnit, Design, SectionKind};
use serde_json::{Value, json};

use super::{
    super::{
        Report,
        exit::Failure,
        table::{count, pairs, table},
    },
    open,
};

/// Show platform, kernels, arguments, compute units, memories, clocks and sections
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// An .xclbin or .awsxclbin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Report, Failure> {
    let xclbin = open(&args.file)?;
    let design = Design::of(&xclbin);
    let header = xclbin.header();
    let platform = header.platform().map_err(|e| Failure::file(&args.file, e))?;
    let agfi = xclbin.agfi().map(|a| a.to_string());
    let mut head = vec![
        ("platform", shown(&platform)),
        ("mode", header.mode.to_string()),
        ("uuid", header.uuid().to_string()),
        ("written by version", header.version.to_string()),
        ("signed", if header.is_signed() { "yes" } else { "no" }.to_owned()),
    ];
    head.extend(agfi.iter().map(|a| ("AWS image", a.clone())));
    if let Ok(design) = &design {
        head.extend(design.interfaces.iter().map(|i| ("shell interface", i.to_string())));
        if let Some(user) = &design.user {
            head.push(("package", shown(&user.package)));
            head.push(("fingerprint", user.fingerprint.to_string()));
            head.push(("kernel ABI", user.kernel_abi.to_string()));
        }
    }
    let mut text = pairs(&head);
    if let Ok(design) = &design {
        text.push_str(&described(design));
    }
    let sections: Vec<_> = xclbin.sections().iter().enumerate().collect();
    let rows: Vec<_> = sections
        .iter()
        .map(|(i, s)| {
            let offset = count(xclbin.offset(*i).unwrap_or_default());
            vec![s.kind().to_string(), shown(&s.name()), offset, count(s.data().len() as u64)]
        })
        .collect();
    text.push_str(&format!("\n\n{}", table(&["section", "name", "offset", "bytes"], &rows)));
    let listed: Vec<_> = sections
        .iter()
        .map(|(i, s)| {
            json!({
                "kind": s.kind().0,
                "kind_name": s.kind().name(),
                "name": s.name(),
                "offset": xclbin.offset(*i),
                "bytes": s.data().len(),
            })
        })
        .collect();
    let built =
        xclbin.data(SectionKind::BUILD_METADATA).and_then(|d| serde_json::from_slice::<Value>(d).ok());
    let json = json!({
        "file": args.file,
        "platform": platform,
        "mode": header.mode.0,
        "mode_name": header.mode.to_string(),
        "uuid": header.uuid().to_string(),
        "version": header.version.to_string(),
        "time_stamp": header.time_stamp,
        "signed": header.is_signed(),
        "aws_image": agfi,
        "sections": listed,
        "build_metadata": built,
        "loadable": design.is_ok(),
        "design": design.as_ref().ok().map(design_json),
    });
    let warnings = design.err().map(|e| {
        Diagnostic::warning(format!("{}: {e}", args.file.display()))
            .help("do not load it: XRT believes what it reads")
    });
    Ok(Report::new(text, json).warnings(warnings.into_iter().collect()))
}

/// A text of the file for a terminal.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

/// What an argument of a compute unit reaches, for a person.
fn banks(design: &Design, unit: &ComputeUnit, argument: usize) -> String {
    let tags: Vec<_> = unit.banks_of(argument).map(|bank| shown(&design.memories[bank].tag)).collect();
    tags.join(" ")
}

fn described(design: &Design) -> String {
    let mut text = String::new();
    for kernel in &design.kernels {
        let mut heading = vec!["id", "argument", "kind", "type", "offset", "bytes"];
        let units: Vec<_> = kernel.compute_units.iter().map(|u| shown(&u.name)).collect();
        heading.extend(units.iter().map(String::as_str));
        let rows: Vec<_> = kernel
            .arguments
            .iter()
            .enumerate()
            .map(|(id, a)| {
                let mut row = vec![id.to_string(), shown(&a.name), a.role.to_string(), shown(&a.ctype)];
                row.extend([format!("{:#x}", a.offset), a.size.to_string()]);
                row.extend(kernel.compute_units.iter().map(|u| banks(design, u, id)));
                row
            })
            .collect();
        text.push_str(&format!("\n\nkernel {}\n{}", shown(&kernel.name), table(&heading, &rows)));
        let rows: Vec<_> = kernel
            .compute_units
            .iter()
            .map(|u| {
                let address = u.base.map_or_else(|| "-".to_owned(), |b| format!("{b:#x}"));
                let interrupt = u.interrupt.map_or_else(|| "-".to_owned(), |i| i.to_string());
                vec![shown(&u.name), address, u.protocol.to_string(), interrupt]
            })
            .collect();
        text.push_str(&format!(
            "\n\n{}",
            table(&["compute unit", "address", "started by", "interrupt"], &rows)
        ));
    }
    for (name, memories) in [("memory", &design.memories), ("group", &design.groups)] {
        if memories.is_empty() {
            continue;
        }
        let rows: Vec<_> = memories
            .iter()
            .map(|m| {
                let used = if m.used { "yes" } else { "no" };
                vec![
                    shown(&m.tag),
                    m.kind.to_string(),
                    used.to_owned(),
                    format!("{:#x}", m.base),
                    count(m.size_kib),
                ]
            })
            .collect();
        text.push_str(&format!("\n\n{}", table(&[name, "kind", "used", "address", "KiB"], &rows)));
    }
    if !design.clocks.is_empty() {
        let clock = |c: &hs_xclbin::Clock| vec![shown(&c.name), c.kind.to_string(), c.mhz.to_string()];
        let rows: Vec<_> = design.clocks.iter().map(clock).collect();
        text.push_str(&format!("\n\n{}", table(&["clock", "drives", "MHz"], &rows)));
    }
    text
}

fn design_json(design: &Design) -> Value {
    let memories = |all: &[hs_xclbin::Memory]| -> Vec<Value> {
        let memory = |m: &hs_xclbin::Memory| {
            json!({
                "tag": m.tag, "kind": m.kind.to_string(), "used": m.used, "base": m.base, "size_kib": m.size_kib,
            })
        };
        all.iter().map(memory).collect()
    };
    let kernel = |k: &hs_xclbin::Kernel| {
        let argument = |a: &hs_xclbin::Argument| {
            json!({
                "name": a.name, "id": a.id, "kind": a.role.to_string(), "type": a.ctype, "port": a.port,
                "offset": a.offset, "size": a.size,
            })
        };
        let unit = |u: &ComputeUnit| {
            let banks: Vec<_> = u.banks.iter().map(|(a, m)| json!({ "argument": a, "memory": m })).collect();
            json!({
                "name": u.name, "base": u.base, "interrupt": u.interrupt, "protocol": u.protocol.to_string(),
                "banks": banks,
            })
        };
        json!({
            "name": k.name,
            "arguments": k.arguments.iter().map(argument).collect::<Vec<_>>(),
            "compute_units": k.compute_units.iter().map(unit).collect::<Vec<_>>(),
        })
    };
    let clock = |c: &hs_xclbin::Clock| json!({ "name": c.name, "kind": c.kind.to_string(), "mhz": c.mhz });
    let user = design.user.as_ref();
    json!({
        "kernels": design.kernels.iter().map(kernel).collect::<Vec<_>>(),
        "memories": memories(&design.memories),
        "groups": memories(&design.groups),
        "clocks": design.clocks.iter().map(clock).collect::<Vec<_>>(),
        "interfaces": design.interfaces.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "package": user.map(|u| &u.package),
        "fingerprint": user.map(|u| u.fingerprint.to_string()),
        "kernel_abi": user.map(|u| u.kernel_abi),
    })
}
