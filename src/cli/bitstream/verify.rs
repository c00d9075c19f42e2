//! `bitstream verify`: whether a file is a package's.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use hs_bitstream::differences;
use hs_xclbin::Design;
use serde_json::json;

use super::{
    super::{
        Report,
        exit::{Exit, Failure},
        table::pairs,
    },
    open, package,
};

/// Compare kernel, arguments, ABI, fingerprint and weights with a package's
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// An .xclbin or .awsxclbin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A package that `compile` wrote
    #[arg(value_name = "PACKAGE")]
    package: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Report, Failure> {
    let package = package(&args.package)?;
    let manifest = package.manifest();
    let xclbin = open(&args.file)?;
    let design = Design::of(&xclbin).map_err(|e| Failure::file(&args.file, e))?;
    let differences = differences(&design, manifest)?;

    let by = match &design.user {
        Some(_) => "fingerprint, names and layout of the arguments",
        None => "names and layout of the arguments: the file does not say which package it was built from",
    };
    let mut text = pairs(&[
        ("file", args.file.display().to_string()),
        ("package", args.package.display().to_string()),
        ("compared", by.to_owned()),
        ("fits", if differences.is_empty() { "yes" } else { "no" }.to_owned()),
    ]);
    for difference in &differences {
        text.push_str(&format!("\nFAILED: {difference}"));
    }
    let listed: Vec<_> = differences
        .iter()
        .map(|d| json!({ "subject": d.subject, "found": d.found, "expected": d.expected }))
        .collect();
    let json = json!({
        "file": args.file,
        "package": args.package,
        "fits": differences.is_empty(),
        "fingerprint": manifest.fingerprint.to_string(),
        "fingerprint_compared": design.user.is_some(),
        "uuid": xclbin.header().uuid().to_string(),
        "differences": listed,
    });
    let exit = if differences.is_empty() { Exit::Ok } else { Exit::Mismatch };
    Ok(Report::new(text, json).exit(exit))
}
