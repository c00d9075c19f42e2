//! The kernel of an emulated card: what `SPEC.md`, section 7, says of memory and registers, with the emulator inside.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::abort,
    sync::{Mutex, PoisonError},
    thread,
};

use hs_emulator::{Emulator, Options};
use hs_fixed::Format;
use hs_hw::abi::{RowLayout, Trailer};
use hs_package::{KernelWeights, sha256};
use hs_xclbin::{Agfi, EmbeddedMetadata, KernelMetadata};
use hs_xrt_emu::{Kernel, Memory, Registers};

use super::{
    faults::{Faults, Now},
    image::Image,
    say,
};

/// The variable that names the folder where packages of AWS images lie, each under the name of its image: an `.awsxclbin`
/// holds nothing else.
const IMAGES: &str = "HYPERSONIC_EMU_IMAGES";
/// Largest file of the host's that is read, in bytes.
const MOST: u64 = 4 << 30;

/// A loaded card.
pub(super) struct Card {
    emulator: Emulator,
    inputs: Vec<Argument>,
    outputs: Vec<Argument>,
    /// Offset of the register with the number of rows.
    rows: usize,
    weights: Option<Weights>,
    /// Names of compute units, by the address of their registers.
    units: BTreeMap<u64, String>,
    faults: Faults,
}

/// A pointer to rows.
struct Argument {
    name: String,
    /// Of its register.
    offset: usize,
    rows: RowLayout,
    format: Format,
}

/// Weights that the kernel reads from memory.
struct Weights {
    offset: usize,
    bytes: usize,
    sha256: String,
    /// The last bytes that were right: to compare is faster than to digest.
    right: Mutex<Vec<u8>>,
}

impl Card {
    /// Takes an xclbin; the error says why it cannot.
    pub(super) fn load(said: &hs_xrt_emu::Image, faults: Faults) -> Result<Self, String> {
        if faults.now()?.fail_load {
            return Err("it has the fault fail-load".to_owned());
        }
        let image = image(&read(&said.bitstream)?)?;
        let metadata = EmbeddedMetadata::read(&read(&said.metadata)?).map_err(|e| e.to_string())?;
        Self::new(&image, &metadata, faults)
    }

    fn new(image: &Image, metadata: &EmbeddedMetadata, faults: Faults) -> Result<Self, String> {
        let names = &image.kernel;
        let kernel = metadata.kernels.iter().find(|k| k.name == names.name).ok_or_else(|| {
            let found: Vec<_> = metadata.kernels.iter().map(|k| k.name.as_str()).collect();
            format!("it has no kernel {}, only {}", names.name, found.join(", "))
        })?;
        // One thread: compute units run beside each other, as they do on a card.
        let options = Options { threads: Some(1), ..Options::default() };
        let emulator = Emulator::new(image.program.clone(), &options).map_err(|e| e.to_string())?;
        let program = &image.program;
        let arguments = |names: &[String], nodes: Vec<hs_hw::ValueId>| {
            let argument = |(name, id): (&String, hs_hw::ValueId)| {
                let node = program.node(id);
                let offset = offset(kernel, name)?;
                Ok(Argument { name: name.clone(), offset, rows: RowLayout::of(node), format: node.format() })
            };
            names.iter().zip(nodes).map(argument).collect::<Result<Vec<_>, String>>()
        };
        let weights = |(weights, sha256): (&KernelWeights, &String)| {
            Ok::<_, String>(Weights {
                offset: offset(kernel, &weights.argument)?,
                bytes: usize::try_from(weights.bytes).map_err(|e| e.to_string())?,
                sha256: sha256.clone(),
                right: Mutex::default(),
            })
        };
        Ok(Self {
            inputs: arguments(&names.inputs, program.inputs())?,
            outputs: arguments(&names.outputs, program.outputs())?,
            rows: offset(kernel, &names.rows)?,
            weights: names.weights.as_ref().zip(image.weights_sha256.as_ref()).map(weights).transpose()?,
            units: kernel.instances.iter().filter_map(|i| Some((i.base?, i.name.clone()))).collect(),
            emulator,
            faults,
        })
    }

    /// Computes rows and writes them. What cannot be done leaves memory as it is: the host misses the trailer.
    fn compute(&self, registers: &Registers, memory: &Memory, now: &Now) -> Result<(), String> {
        let said = registers.u32(self.rows);
        let rows = said as usize;
        let outside = |argument: &str, bytes: usize, address: u64| {
            format!("'{argument}' needs {bytes} bytes at {address:#x}, and not all of them are in one buffer")
        };
        for output in &self.outputs {
            let (bytes, address) = (output.rows.output_bytes(rows), registers.u64(output.offset));
            if !memory.holds(address, bytes) {
                return Err(outside(&output.name, bytes, address));
            }
        }
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let (bytes, address) = (input.rows.bytes(rows), registers.u64(input.offset));
            // Without rows nothing is read, not even what the pointer points to.
            let read = if rows == 0 { Some(Vec::new()) } else { memory.read(address, bytes) };
            let packed = read.ok_or_else(|| outside(&input.name, bytes, address))?;
            let mut codes = input.rows.unpack(&packed, rows).map_err(|e| e.to_string())?;
            codes.iter_mut().for_each(|code| *code = low_bits(*code, input.format));
            inputs.push(codes);
        }
        let inputs: Vec<&[i64]> = inputs.iter().map(Vec::as_slice).collect();
        let mut results = self.emulator.run_codes(&inputs, rows).map_err(|e| e.to_string())?;
        if let Some(weights) = self.weights.as_ref().filter(|_| rows > 0) {
            let address = registers.u64(weights.offset);
            let bytes = memory.read(address, weights.bytes);
            if !weights.are_right(bytes.ok_or_else(|| outside("weights", weights.bytes, address))?) {
                // The real kernel would compute something else; what, depends on how it keeps them.
                results.iter_mut().flatten().for_each(|code| *code ^= 1);
            }
        }
        if let Some(code) = results.first_mut().and_then(|codes| codes.first_mut()).filter(|_| now.wrong) {
            *code ^= 1;
        }
        let mut fingerprint = self.emulator.program().fingerprint();
        if now.trailer {
            fingerprint.0[0] ^= 1;
        }
        let trailer = Trailer::new(said, &fingerprint).to_bytes();
        for (output, codes) in self.outputs.iter().zip(&results) {
            let mut bytes = output.rows.pack(codes);
            bytes.extend(trailer);
            let address = registers.u64(output.offset);
            if !memory.write(address, &bytes) {
                return Err(outside(&output.name, bytes.len(), address));
            }
        }
        Ok(())
    }
}

impl Kernel for Card {
    fn run(&self, unit: u64, registers: &Registers, memory: &Memory) {
        let now = match self.faults.now() {
            Ok(now) => now,
            // A fault that was meant must not pass for none.
            Err(why) => {
                say(self.faults.device, &why);
                abort();
            }
        };
        if now.crash {
            abort();
        }
        if now.hang {
            loop {
                thread::park();
            }
        }
        thread::sleep(now.slow);
        if now.skip {
            return;
        }
        if let Err(why) = self.compute(registers, memory, &now) {
            let unit = self.units.get(&unit).map_or("of no name", String::as_str);
            say(self.faults.device, &format!("compute unit {unit}: {why}; nothing is computed"));
        }
    }
}

impl Weights {
    fn are_right(&self, bytes: Vec<u8>) -> bool {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if *right == bytes && !bytes.is_empty() {
            return true;
        }
        let found = sha256(&bytes) == self.sha256;
        if found {
            *right = bytes;
        }
        found
    }
}

/// Offset of the register of an argument.
fn offset(kernel: &KernelMetadata, name: &str) -> Result<usize, String> {
    let argument = kernel.arguments.iter().find(|a| a.name == name);
    let offset = argument.and_then(|a| usize::try_from(a.offset).ok());
    offset.ok_or_else(|| format!("its kernel {} has no argument {name}", kernel.name))
}

/// What the kernel takes of an element: as many bits as its type has.
fn low_bits(code: i64, format: Format) -> i64 {
    let above = 64 - format.width().min(64);
    if format.is_signed() {
        code << above >> above
    } else {
        (code.cast_unsigned() << above >> above).cast_signed()
    }
}

/// What a BITSTREAM computes.
fn image(bitstream: &[u8]) -> Result<Image, String> {
    let Some(name) = std::str::from_utf8(bitstream).ok().and_then(|text| text.parse::<Agfi>().ok()) else {
        return Image::parse(bitstream);
    };
    let Some(folder) = env::var_os(IMAGES).filter(|folder| !folder.is_empty()) else {
        return Err(format!(
            "it names the AWS image {name} and does not hold it; set {IMAGES} to a folder that has its package under \
             that name"
        ));
    };
    let package = PathBuf::from(folder).join(name.to_string());
    match Image::open(&package) {
        Ok(Some(image)) => Ok(image),
        Ok(None) => Err(format!("{}: the package has no kernel; compile the model again", package.display())),
        Err(error) => Err(format!("AWS image {name}: {error}")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let of_file = |e: std::io::Error| format!("{}: {e}", path.display());
    let size = fs::metadata(path).map_err(of_file)?.len();
    if size > MOST {
        return Err(format!("{} has {size} bytes; expected at most {MOST}", path.display()));
    }
    fs::read(path).map_err(of_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_the_bits_of_their_type() {
        let format = |signed, width| Format::new(signed, width, 4).unwrap();
        assert_eq!(low_bits(0xff, format(true, 8)), -1);
        assert_eq!(low_bits(0x17f, format(true, 8)), 0x7f);
        assert_eq!(low_bits(-1, format(false, 4)), 15);
        assert_eq!(low_bits(i64::MIN, format(true, 64)), i64::MIN);
        assert_eq!(low_bits(-1, format(false, 63)), i64::MAX);
    }

    #[test]
    fn weights_are_compared_again_each_time() {
        let weights = Weights { offset: 0, bytes: 3, sha256: sha256(b"abc"), right: Mutex::default() };
        for (bytes, right) in [("abc", true), ("abc", true), ("abd", false), ("abc", true), ("", false)] {
            assert_eq!(weights.are_right(bytes.into()), right, "{bytes}");
        }
    }
}
