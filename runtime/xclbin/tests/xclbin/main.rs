//! Files as the builder, the vendor's tools, and someone hostile make them.

mod container;
mod design;
mod hostile;

use hs_hw::Fingerprint;
use hs_xclbin::{
    ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol, UserMetadata,
};

fn memory(kind: MemoryKind, tag: &str, base: u64) -> Memory {
    Memory { kind, used: false, size_kib: 0x100_0000, base, tag: tag.to_owned() }
}

/// A kernel with two inputs, an output, rows and weights, twice, on two DDR banks and one of HBM; a third is not used.
fn builder() -> Builder {
    let pointer = |name: &str| ArgumentSpec::Pointer { name: name.to_owned() };
    let arguments = vec![
        pointer("a"),
        pointer("b"),
        pointer("y"),
        ArgumentSpec::Uint { name: "rows".to_owned() },
        pointer("weights"),
    ];
    let unit = |name: &str, banks: [u32; 4]| ComputeUnitSpec { name: name.to_owned(), banks: banks.to_vec() };
    Builder {
        platform: "xilinx_u280_gen3x16_xdma_1_202211_1".to_owned(),
        mode: Mode::SW_EMU,
        memories: vec![
            memory(MemoryKind::DDR4, "DDR[0]", 0),
            memory(MemoryKind::DDR4, "DDR[1]", 0x4_0000_0000),
            memory(MemoryKind::HBM, "HBM[0]", 0x8_0000_0000),
            memory(MemoryKind::HBM, "HBM[1]", 0xc_0000_0000),
        ],
        kernels: vec![KernelSpec {
            name: "jets_kernel".to_owned(),
            arguments,
            compute_units: vec![unit("jets_kernel_1", [0, 0, 0, 2]), unit("jets_kernel_2", [1, 1, 1, 2])],
        }],
        protocol: Protocol::Hs,
        clock_mhz: 300,
        bitstream: b"what is loaded".to_vec(),
        user: Some(UserMetadata::new("jets", Fingerprint([7; 32]))),
        interface: Some("862c7020a250293e32036f19956669e5".parse().unwrap()),
    }
}

fn file() -> Vec<u8> {
    builder().build().unwrap().to_bytes()
}

/// A number in the file, little-endian.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
