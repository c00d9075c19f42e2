//! A minimal xclbin: enough for XRT to open a kernel and allocate its buffers, without anything that computes.

use hs_xclbin::{ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol};

/// An xclbin with one compute unit of `kernel`: pointers, all in one bank, then the number of rows.
pub(crate) fn xclbin(kernel: &str, pointers: &[String]) -> Vec<u8> {
    let bank =
        Memory { kind: MemoryKind::DDR4, used: true, size_kib: 16 << 20, base: 0, tag: "bank0".to_owned() };
    let mut arguments: Vec<_> =
        pointers.iter().map(|name| ArgumentSpec::Pointer { name: name.clone() }).collect();
    arguments.push(ArgumentSpec::Uint { name: "rows".to_owned() });
    let unit = ComputeUnitSpec { name: format!("{kernel}_1"), banks: vec![0; pointers.len()] };
    let builder = Builder {
        platform: "xilinx_u55c_gen3x16_xdma_3_202210_1".to_owned(),
        mode: Mode::FLAT,
        memories: vec![bank],
        kernels: vec![KernelSpec { name: kernel.to_owned(), arguments, compute_units: vec![unit] }],
        protocol: Protocol::Chain,
        clock_mhz: 300,
        bitstream: b"nothing".to_vec(),
        user: None,
        interface: None,
    };
    builder.build().unwrap().to_bytes()
}
