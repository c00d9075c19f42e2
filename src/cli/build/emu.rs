//! An xclbin for emulated cards: what v++ would link, around a kernel that the emulator computes. No tool is needed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use hs_compiler::{
    hls::CONNECTIVITY,
    platform::{Card, MAX_COMPUTE_UNITS},
};
use hs_package::{BUILD, HLS, Kernel, Package};
use hs_xclbin::{
    ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol, UserMetadata,
};
use hs_xrt_emu::bed::Emconfig;
use serde_json::json;

use super::{Args, Failure, Report, count, pairs};
use crate::emulated_card::Image;

/// What is built in place of a bitstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// Cards of XRT's software emulation, without Vitis
    Emu,
}

/// File with the cards, beside the xclbin.
const EMCONFIG: &str = "emconfig.json";
/// Most units that `--cus` may ask for.
pub(super) const MOST_UNITS: i64 = MAX_COMPUTE_UNITS as i64;

/// Banks of a kind: name, number, MiB of each.
type Banks = Vec<(String, usize, u64)>;

pub(super) fn run(args: &Args, package: &Package, kernel: &Kernel) -> Result<Report, Failure> {
    package.check_files()?;
    let units = args.cus.unwrap_or(kernel.compute_units).max(1);
    let manifest = package.manifest();
    let banks = banks(kernel);
    let emconfig = Emconfig {
        platform: kernel.platform.clone().unwrap_or_else(|| Emconfig::default().platform),
        cards: 1,
        banks_mib: banks.iter().flat_map(|(_, banks, mib)| vec![*mib; *banks]).collect(),
    };
    let memories = memories(&banks);
    let placed = match manifest.file(&format!("{HLS}/{CONNECTIVITY}")) {
        Some(file) => placed(&String::from_utf8_lossy(&package.read(&file.path)?)),
        None => BTreeMap::new(),
    };
    let Some(image) = Image::of(package) else {
        return Err(Failure::internal("a package with a kernel gives no image"));
    };
    let builder = Builder {
        platform: emconfig.platform.clone(),
        mode: Mode::SW_EMU,
        kernels: vec![KernelSpec {
            name: kernel.name.clone(),
            arguments: arguments(kernel),
            compute_units: (0..units).map(|i| unit(kernel, i, &placed, &memories)).collect(),
        }],
        memories,
        protocol: Protocol::Chain,
        clock_mhz: u16::try_from(kernel.clock_mhz).unwrap_or(u16::MAX),
        bitstream: image.to_bytes().map_err(Failure::internal)?,
        user: Some(UserMetadata::new(&manifest.model, manifest.fingerprint)),
        interface: None,
    };
    let bytes = builder.build().map_err(Failure::input)?.to_bytes();

    let xclbin = args.output.clone().unwrap_or_else(|| {
        let name = format!("{}.emu.xclbin", kernel.name);
        args.package.join(BUILD).join(name)
    });
    let folder = xclbin.parent().map_or_else(PathBuf::new, Path::to_owned);
    if args.output.is_none() {
        fs::create_dir_all(&folder).map_err(|e| Failure::file(&folder, e))?;
    }
    write(&xclbin, &bytes)?;
    let cards = folder.join(EMCONFIG);
    // One by the vendor's tool says as much, and belongs to another step.
    let foreign = fs::read_to_string(&cards).is_ok_and(|text| !text.contains(Emconfig::TOOL));
    if !foreign {
        write(&cards, emconfig.to_json().as_bytes())?;
    }
    let text = pairs(&[
        ("package", args.package.display().to_string()),
        ("kernel", format!("{}, {units} compute units", kernel.name)),
        ("platform", emconfig.platform.clone()),
        ("xclbin", format!("{}, {} bytes", xclbin.display(), count(bytes.len() as u64))),
        ("cards", cards.display().to_string()),
        ("run a host", format!("hypersonic xrt-emu --emconfig {} -- PROGRAM ARGUMENTS", cards.display())),
    ]);
    let json = json!({
        "package": args.package,
        "target": "emu",
        "fingerprint": manifest.fingerprint.to_string(),
        "kernel": kernel.name,
        "compute_units": units,
        "platform": emconfig.platform,
        "xclbin": xclbin,
        "bytes": bytes.len(),
        "emconfig": cards,
    });
    Ok(Report::new(text, json))
}

/// Appears whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wrong = |e: std::io::Error| Failure::file(path, e);
    let new = tempfile::Builder::new().prefix(".emu").tempfile_in(folder).map_err(wrong)?;
    fs::write(new.path(), bytes).map_err(wrong)?;
    fs::set_permissions(new.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(wrong)?;
    new.persist(path).map(drop).map_err(|e| wrong(e.error))
}

/// The memory of the card that the package is for; two large banks where it is not known.
fn banks(kernel: &Kernel) -> Banks {
    let is_meant = |card: &&Card| match &kernel.platform {
        Some(platform) => card.platforms.contains(platform),
        None => card.part == kernel.part,
    };
    match Card::all().iter().find(is_meant) {
        Some(card) => card.memories.iter().map(|m| (m.tag.clone(), m.banks, m.mib)).collect(),
        None => Emconfig::default().banks_mib.iter().map(|mib| ("DDR".to_owned(), 2, *mib)).take(1).collect(),
    }
}

fn memories(banks: &Banks) -> Vec<Memory> {
    let (mut memories, mut base) = (Vec::new(), 0);
    for (tag, banks, mib) in banks {
        for index in 0..*banks {
            let kind = if tag == "HBM" { MemoryKind::HBM } else { MemoryKind::DDR4 };
            memories.push(Memory { kind, used: false, size_kib: mib << 10, base, tag: format!("{tag}[{index}]") });
            base += mib << 20;
        }
    }
    memories
}

/// Pointers and rows, in the order of the kernel.
fn arguments(kernel: &Kernel) -> Vec<ArgumentSpec> {
    let pointer = |name: &String| ArgumentSpec::Pointer { name: name.clone() };
    let mut all: Vec<_> = kernel.inputs.iter().chain(&kernel.outputs).map(pointer).collect();
    all.push(ArgumentSpec::Uint { name: kernel.rows.clone() });
    all.extend(kernel.weights.iter().map(|w| pointer(&w.argument)));
    all
}

/// The compute unit with an index. Where more are asked for than the package links, they share the others' memories.
fn unit(kernel: &Kernel, index: u32, placed: &BTreeMap<String, String>, memories: &[Memory]) -> ComputeUnitSpec {
    let like = index % kernel.compute_units.max(1) + 1;
    let bank = |argument: &String, otherwise: usize| {
        let bank = placed.get(&format!("{}_{like}.{argument}", kernel.name));
        let found = bank.and_then(|bank| memories.iter().position(|m| m.tag == *bank));
        found.unwrap_or(otherwise.min(memories.len() - 1)) as u32
    };
    let inputs = kernel.inputs.iter().map(|a| bank(a, 0));
    let outputs = kernel.outputs.iter().map(|a| bank(a, 1));
    let weights = kernel.weights.iter().map(|w| bank(&w.argument, 0));
    let name = format!("{}_{}", kernel.name, index + 1);
    ComputeUnitSpec { name, banks: inputs.chain(outputs).chain(weights).collect() }
}

/// The first bank of each `sp=UNIT.ARGUMENT:BANKS` of a link's configuration, by `UNIT.ARGUMENT`.
fn placed(connectivity: &str) -> BTreeMap<String, String> {
    let port = |line: &str| {
        let (port, banks) = line.trim().strip_prefix("sp=")?.split_once(':')?;
        let (tag, range) = banks.strip_suffix(']')?.split_once('[')?;
        let first = range.split(':').next()?;
        Some((port.to_owned(), format!("{tag}[{first}]")))
    };
    connectivity.lines().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_first_of_their_banks() {
        let text = "[connectivity]\nnk=net_kernel:2\nslr=net_kernel_1:SLR0\nsp=net_kernel_1.x_x:HBM[0:3]\n sp=net_kernel_2.y_y:DDR[1]\n";
        let found: Vec<_> = placed(text).into_iter().collect();
        let expected = [("net_kernel_1.x_x", "HBM[0]"), ("net_kernel_2.y_y", "DDR[1]")];
        assert_eq!(found, expected.map(|(port, bank)| (port.to_owned(), bank.to_owned())));
    }

    #[test]
    fn memories_follow_each_other() {
        let all = memories(&vec![("HBM".to_owned(), 2, 512), ("DDR".to_owned(), 1, 1024)]);
        let found: Vec<_> = all.iter().map(|m| (m.tag.as_str(), m.base, m.size_kib, m.kind)).collect();
        assert_eq!(
            found,
            [
                ("HBM[0]", 0, 512 << 10, MemoryKind::HBM),
                ("HBM[1]", 512 << 20, 512 << 10, MemoryKind::HBM),
                ("DDR[0]", 1024 << 20, 1 << 20, MemoryKind::DDR4),
            ]
        );
    }
}
