//! `bitstream`: what an xclbin says, whether it is a package's, and the registry of those that are.

mod inspect;
mod registry;
mod verify;

use std::{fs, path::Path};

use clap::{Args as ClapArgs, Subcommand};
use hs_package::Package;
use hs_xclbin::Xclbin;

use super::{Context, Report, exit::Failure};
pub(super) use registry::{Registered, describe, register};

/// Show what an xclbin or .awsxclbin holds, verify that it is a package's, register it for serving
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
`inspect` warns where XRT must not be given the file; it fails only where the file is no xclbin.
`verify` exits with 1 when the file is that of another package, and with 3 when it is damaged. A file that does not say
which package it was built from can only be verified by names and layout of its kernel's arguments: its trailer, behind
each output, tells the rest.
`register` refuses such files with 3. It copies the bitstream into a registry, with a manifest and golden vectors: 64 random
rows through the emulator, unless --golden names others. A registry is a folder, or s3://BUCKET/PREFIX through the `aws`
program: --registry, else HYPERSONIC_REGISTRY, else ~/.local/share/hypersonic/bitstreams.

Examples:
  hypersonic bitstream inspect net_kernel.hw.xclbin
  hypersonic bitstream inspect net_kernel.awsxclbin --json
  hypersonic bitstream verify package/build/net_kernel.hw.xclbin package/
  hypersonic bitstream register package/build/net_kernel.hw.xclbin --package package/
  hypersonic bitstream register net.xclbin --package package/ --registry s3://bucket/bitstreams --name net-u55c
  hypersonic bitstream list --package package/")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Inspect(inspect::Args),
    Verify(verify::Args),
    Register(registry::RegisterArgs),
    List(registry::ListArgs),
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    match args.action {
        Action::Inspect(args) => inspect::run(&args),
        Action::Verify(args) => verify::run(&args),
        Action::Register(args) => registry::run_register(&args, context),
        Action::List(args) => registry::run_list(&args, context),
    }
}

fn open(path: &Path) -> Result<Xclbin, Failure> {
    let bytes = fs::read(path).map_err(|e| Failure::file(path, e))?;
    Xclbin::parse(&bytes).map_err(|e| Failure::file(path, e))
}

/// A package with a kernel, whose files are as they were written.
pub(super) fn package(path: &Path) -> Result<Package, Failure> {
    if !path.is_dir() {
        return Err(Failure::usage(format!("{} is no package", path.display()))
            .help("`hypersonic compile MODEL -o DIR` writes one"));
    }
    let package = Package::open(path)?;
    if package.manifest().kernel.is_none() {
        return Err(Failure::input(format!("{}: the package has no kernel", path.display()))
            .help("compile the model again"));
    }
    // The weights are among them, and a kernel reads what the file holds.
    package.check_files()?;
    Ok(package)
}
