//! `bitstream register` and `bitstream list`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args as ClapArgs;
use hs_bitstream::{
    Bitstream, Digest, FileName, Files, Location, Manifest, Origin, Registry, Timestamp, is_afi,
};
use hs_compiler::diagnostic::Diagnostic;
use hs_package::Package;
use serde_json::json;

use super::{
    super::{
        Context, Report,
        exit::Failure,
        golden,
        model::Model,
        options::CompileArgs,
        table::{count, pairs, table},
    },
    package,
};

/// Rows of golden vectors that are made.
const GOLDEN_ROWS: usize = 64;

/// Which registry.
#[derive(Debug, ClapArgs)]
pub(crate) struct RegistryArg {
    /// A folder, or s3://BUCKET/PREFIX [default: HYPERSONIC_REGISTRY, else ~/.local/share/hypersonic/bitstreams]
    #[arg(long, value_name = "DIR|URL")]
    registry: Option<String>,
}

impl RegistryArg {
    pub(crate) fn open(&self) -> Result<Registry, Failure> {
        let location = match &self.registry {
            Some(text) => text.parse()?,
            None => Location::of_environment()?,
        };
        Ok(Registry::new(location)?)
    }
}

/// How a bitstream is registered.
#[derive(Debug, ClapArgs)]
pub(crate) struct Registered {
    #[command(flatten)]
    pub(crate) registry: RegistryArg,
    /// Its name there [default: the file's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<FileName>,
    /// Golden vectors of the model [default: 64 random rows through the emulator]
    #[arg(long, value_name = "GOLDEN.npz")]
    pub(crate) golden: Option<PathBuf>,
    /// Who made the bitstream [default: this program]
    #[arg(long, value_name = "TEXT")]
    pub(crate) creator: Option<String>,
    /// Put it in the place of another bitstream of the same name
    #[arg(long)]
    pub(crate) replace: bool,
}

impl Registered {
    /// Its name in the registry.
    pub(crate) fn name_of(&self, file: &Path) -> Result<FileName, Failure> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => named(file),
        }
    }

    /// Whether the golden vectors that were given are a package's.
    pub(crate) fn check_golden(&self, package: &Package) -> Result<(), Failure> {
        let Some(path) = &self.golden else { return Ok(()) };
        golden::open(path)?.check_program(package.program()).map_err(|e| golden::refused(path, &e))
    }
}

/// Copy a bitstream into a registry, where `serve` finds it
#[derive(Debug, ClapArgs)]
pub(super) struct RegisterArgs {
    /// An .xclbin or .awsxclbin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The package that it was built from
    #[arg(long, value_name = "PACKAGE")]
    package: PathBuf,
    #[command(flatten)]
    how: Registered,
    /// Of an .awsxclbin: the id of its image in its region
    #[arg(long, value_name = "AFI", value_parser = afi)]
    afi: Option<String>,
    /// Of an .awsxclbin: that region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

/// List the bitstreams of a registry
#[derive(Debug, ClapArgs)]
pub(super) struct ListArgs {
    #[command(flatten)]
    registry: RegistryArg,
    /// Only those of this package's model
    #[arg(long, value_name = "PACKAGE")]
    package: Option<PathBuf>,
}

fn afi(text: &str) -> Result<String, String> {
    if is_afi(text) { Ok(text.to_owned()) } else { Err("an id is afi- and hexadecimal digits".to_owned()) }
}

pub(super) fn run_register(args: &RegisterArgs, context: &Context) -> Result<Report, Failure> {
    let package = package(&args.package)?;
    let bitstream = Bitstream::read(&args.file)?;
    if bitstream.xclbin().agfi().is_none() && (args.afi.is_some() || args.region.is_some()) {
        return Err(Failure::usage(format!("{} names no AWS image", args.file.display()))
            .help("--afi and --region are for an .awsxclbin"));
    }
    let image = (args.afi.clone(), args.region.clone());
    let manifest = register(&args.file, &bitstream, &package, image, &args.how, context)?;
    let registry = args.how.registry.open()?;
    let (text, json) = describe(&manifest, &registry);
    let warnings = match bitstream.design().user {
        Some(_) => Vec::new(),
        None => vec![
            Diagnostic::warning(format!("{} does not say which package it was built from", args.file.display()))
                .help("a wrong one is found out when it runs, by the kernel's trailer and by the golden vectors"),
        ],
    };
    Ok(Report::new(text, json).warnings(warnings))
}

/// Registers a bitstream that fits its package; `image` is its AWS image's id and region.
pub(crate) fn register(
    file: &Path,
    bitstream: &Bitstream,
    package: &Package,
    image: (Option<String>, Option<String>),
    how: &Registered,
    context: &Context,
) -> Result<Manifest, Failure> {
    bitstream.check_package(package.manifest())?;
    let registry = how.registry.open()?;
    let name = how.name_of(file)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let creator = how.creator.clone();
    let origin = Origin {
        creator: creator.unwrap_or_else(|| concat!("hypersonic ", env!("CARGO_PKG_VERSION")).to_owned()),
        created: Timestamp::of_unix(now),
        image,
    };
    let vectors = golden_vectors(package, how, context)?;
    let manifest = Manifest::new(name, bitstream, package.manifest().fingerprint, origin)
        .with_golden(Digest::of(&vectors), vectors.len() as u64);
    let mut golden = tempfile::NamedTempFile::new().map_err(Failure::environment)?;
    golden.write_all(&vectors).map_err(Failure::environment)?;
    let files = Files { bitstream: file, golden: Some(golden.path()) };
    let _step = context.step(format!("to {}", registry.location()));
    registry.add(&manifest, &files, how.replace)?;
    Ok(manifest)
}

/// A name of the registry for a file.
fn named(file: &Path) -> Result<FileName, Failure> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' };
    let name: String = stem.chars().map(fits).collect();
    name.parse().map_err(|e| Failure::usage(e).help("name it: --name NAME"))
}

/// The bytes of golden vectors of a package's model.
fn golden_vectors(package: &Package, how: &Registered, context: &Context) -> Result<Vec<u8>, Failure> {
    let Some(path) = &how.golden else {
        let model = Model::open(package.dir(), &CompileArgs::default(), context)?;
        let _step = context.step("emulating golden vectors");
        let mut bytes = std::io::Cursor::new(Vec::new());
        golden::of_random(&model, 0, GOLDEN_ROWS)?.write(&mut bytes).map_err(Failure::internal)?;
        return Ok(bytes.into_inner());
    };
    how.check_golden(package)?;
    fs::read(path).map_err(|e| Failure::file(path, e))
}

/// A registered bitstream for a person and for machines.
pub(crate) fn describe(manifest: &Manifest, registry: &Registry) -> (String, serde_json::Value) {
    let mut rows = vec![
        ("registry", registry.location().to_string()),
        ("name", manifest.name.to_string()),
        ("target", manifest.target.to_string()),
        ("platform", manifest.platform.escape_debug().to_string()),
    ];
    rows.extend(manifest.interfaces.iter().map(|i| ("shell interface", i.to_string())));
    if let Some(aws) = &manifest.aws {
        rows.push(("AWS image", aws.agfi.to_string()));
    }
    rows.push(("fingerprint", manifest.fingerprint.to_string()));
    rows.push(("file", manifest.file.name.to_string()));
    rows.push(("SHA-256", manifest.file.sha256.to_string()));
    rows.push(("bytes", count(manifest.file.bytes)));
    if let Some(golden) = &manifest.golden {
        rows.push(("golden vectors", golden.name.to_string()));
    }
    (pairs(&rows), json!({ "registry": registry.location().to_string(), "manifest": manifest }))
}

pub(super) fn run_list(args: &ListArgs, context: &Context) -> Result<Report, Failure> {
    let of = args.package.as_deref().map(package).transpose()?;
    let registry = args.registry.open()?;
    let step = context.step(format!("reading {}", registry.location()));
    let mut listing = registry.list()?;
    drop(step);
    if let Some(package) = &of {
        listing.manifests.retain(|m| m.check_package(package.manifest()).is_ok());
    }
    let row = |m: &Manifest| {
        let units: usize = m.kernels.iter().map(|k| k.compute_units.len()).sum();
        vec![
            m.name.to_string(),
            m.target.to_string(),
            m.platform.escape_debug().to_string(),
            units.to_string(),
            m.clock_mhz.map_or_else(|| "-".to_owned(), |c| c.to_string()),
            m.fingerprint.to_string()[..16].to_owned(),
            m.created.to_string(),
        ]
    };
    let rows: Vec<_> = listing.manifests.iter().map(row).collect();
    let heading = ["name", "target", "platform", "CUs", "MHz", "fingerprint", "registered"];
    let mut text = pairs(&[("registry", registry.location().to_string())]);
    if rows.is_empty() {
        text.push_str("\n\nno bitstreams; `hypersonic bitstream register FILE --package PACKAGE` adds one");
    } else {
        text.push_str(&format!("\n\n{}", table(&heading, &rows)));
    }
    let warning = |u: &hs_bitstream::Unreadable| {
        Diagnostic::warning(format!("{}/{}: {}", registry.location(), u.file.escape_debug(), u.error))
            .help("it is left out; correct it, or remove it")
    };
    let warnings: Vec<_> = listing.unreadable.iter().map(warning).collect();
    let unreadable: Vec<_> =
        listing.unreadable.iter().map(|u| json!({ "file": u.file, "error": u.error })).collect();
    let json = json!({
        "registry": registry.location().to_string(),
        "bitstreams": listing.manifests,
        "unreadable": unreadable,
    });
    Ok(Report::new(text, json).warnings(warnings))
}
