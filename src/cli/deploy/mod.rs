//! `deploy`: from a bitstream to where it can be loaded, and into the registry.

mod alveo;
mod aws_f1;
mod aws_f2;
mod image;
mod state;

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use hs_bitstream::{Bitstream, Target};
use hs_package::{BUILD, Package};

use super::{Context, Report, bitstream, exit::Failure};

/// Bring a bitstream to AWS or to a card, and register it for serving
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
`aws-f1` has AWS make an FPGA image: it takes the design checkpoint out of the xclbin, uploads it, asks for the image, waits
until it is available (an hour is not unusual), writes the .awsxclbin and registers it. Run again after any interruption, it
goes on where it stopped, and never asks for a second image. AWS is reached through the `aws` program, with its credentials.
`aws-f2` checks the bitstream and stops where AWS does: it makes no images of xclbins for F2 (exit code 4).
`alveo` compares the bitstream with the card's shell, then registers it.

Examples:
  hypersonic deploy aws-f1 package/ --bucket my-bucket --region us-east-1
  hypersonic deploy aws-f1 net_kernel.hw.xclbin --package package/ --bucket my-bucket --dry-run
  hypersonic deploy aws-f2 package/ --dry-run
  hypersonic deploy alveo package/ --card 0000:3b:00.1")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    #[command(name = "aws-f1")]
    AwsF1(aws_f1::Args),
    #[command(name = "aws-f2")]
    AwsF2(aws_f2::Args),
    Alveo(alveo::Args),
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    match args.action {
        Action::AwsF1(args) => aws_f1::run(&args, context),
        Action::AwsF2(args) => aws_f2::run(&args),
        Action::Alveo(args) => alveo::run(&args, context),
    }
}

/// What is deployed.
#[derive(Debug, ClapArgs)]
struct Source {
    /// A bitstream, or a package that `build --until hw` has built
    #[arg(value_name = "XCLBIN|PACKAGE")]
    path: PathBuf,
    /// The package that a bitstream was built from
    #[arg(long, value_name = "PACKAGE")]
    package: Option<PathBuf>,
}

/// A bitstream that fits its package.
struct Deployed {
    file: PathBuf,
    bitstream: Bitstream,
    package: Package,
}

impl Source {
    /// Reads the bitstream, and refuses one that is not the package's or not for cards.
    fn open(&self) -> Result<Deployed, Failure> {
        let (file, package) = match &self.package {
            Some(_) if self.path.is_dir() => {
                return Err(Failure::usage(format!("{} is a package itself", self.path.display()))
                    .help("--package is for a bitstream"));
            }
            Some(package) => (self.path.clone(), bitstream::package(package)?),
            None if self.path.is_dir() => {
                let package = bitstream::package(&self.path)?;
                (built(&package)?, package)
            }
            None => {
                return Err(Failure::usage(format!("{} is no package", self.path.display()))
                    .help("a bitstream needs --package, the package that it was built from"));
            }
        };
        let bitstream = Bitstream::read(&file)?;
        bitstream.check_package(package.manifest())?;
        if bitstream.target() != Target::Hw {
            return Err(Failure::input(format!(
                "{} is for {}, not for a card",
                file.display(),
                bitstream.target()
            ))
            .help("`hypersonic build PACKAGE --until hw` makes one for cards"));
        }
        Ok(Deployed { file, bitstream, package })
    }
}

/// The bitstream that `build` leaves in a package.
fn built(package: &Package) -> Result<PathBuf, Failure> {
    let kernel = package.manifest().kernel.as_ref().map_or("", |k| &k.name);
    let file = package.dir().join(BUILD).join(format!("{kernel}.hw.xclbin"));
    if file.is_file() {
        return Ok(file);
    }
    Err(Failure::input(format!("{} has no bitstream: {} is missing", package.dir().display(), file.display()))
        .help("`hypersonic build PACKAGE --until hw` builds it, where Vitis is installed"))
}

/// The name of a file without its extension.
fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
