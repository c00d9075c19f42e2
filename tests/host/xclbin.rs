//! A minimal xclbin: enough for XRT to open a kernel and allocate its buffers, without anything that computes.

use std::fmt::Write as _;

const BITSTREAM: u32 = 0;
const EMBEDDED_METADATA: u32 = 2;
const MEM_TOPOLOGY: u32 = 6;
const CONNECTIVITY: u32 = 7;
const IP_LAYOUT: u32 = 8;

/// Bytes before the section headers, and of each of them.
const HEAD: usize = 456;
const SECTION_HEADER: usize = 40;
const PLATFORM: &str = "xilinx_u55c_gen3x16_xdma_3_202210_1";

/// An xclbin with one compute unit of `kernel`: pointers, all in one bank, then the number of rows.
pub(crate) fn xclbin(kernel: &str, pointers: &[String]) -> Vec<u8> {
    let mut memory = vec![0; 48];
    memory[0] = 1;
    memory[8] = 1; // DDR4
    memory[9] = 1; // used
    memory[16..24].copy_from_slice(&(16u64 << 20).to_le_bytes());
    memory[32..37].copy_from_slice(b"bank0");

    let mut units = vec![0; 88];
    units[0] = 1;
    units[8] = 1; // a kernel
    units[13] = 1; // ap_ctrl_chain
    units[16..24].copy_from_slice(&0x180_0000u64.to_le_bytes());
    let name = format!("{kernel}:{kernel}_1");
    units[24..24 + name.len()].copy_from_slice(name.as_bytes());

    let mut connections = (pointers.len() as u32).to_le_bytes().to_vec();
    for argument in 0..pointers.len() as u32 {
        connections.extend([argument, 0, 0].map(u32::to_le_bytes).concat());
    }
    container(&[
        (BITSTREAM, b"nothing".to_vec()),
        (MEM_TOPOLOGY, memory),
        (IP_LAYOUT, units),
        (CONNECTIVITY, connections),
        (EMBEDDED_METADATA, metadata(kernel, pointers).into_bytes()),
    ])
}

fn metadata(kernel: &str, pointers: &[String]) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<project name=\"test\"><platform vendor=\"xilinx\" boardid=\"u55c\" \
         name=\"test\"><version major=\"1\" minor=\"0\"/><description/><device name=\"fpga0\"><core name=\"OCL_REGION_0\" \
         target=\"bitstream\" type=\"clc_region\" clockFreq=\"0MHz\"><kernel name=\"{kernel}\" language=\"c\" \
         hwControlProtocol=\"ap_ctrl_chain\"><port name=\"S_AXI_CONTROL\" mode=\"slave\" range=\"0x1000\" \
         dataWidth=\"32\" portType=\"addressable\" base=\"0x0\"/>"
    );
    let mut offset = 0x10;
    for (id, name) in pointers.iter().enumerate() {
        let _ = write!(
            xml,
            "<port name=\"M_AXI_{id}\" mode=\"master\" range=\"0xFFFFFFFF\" dataWidth=\"512\" portType=\"addressable\" \
             base=\"0x0\"/><arg name=\"{name}\" addressQualifier=\"1\" id=\"{id}\" port=\"M_AXI_{id}\" size=\"0x8\" \
             offset=\"{offset:#x}\" hostOffset=\"0x0\" hostSize=\"0x8\" type=\"void*\"/>"
        );
        offset += 12;
    }
    let id = pointers.len();
    let _ = writeln!(
        xml,
        "<arg name=\"rows\" addressQualifier=\"0\" id=\"{id}\" port=\"S_AXI_CONTROL\" size=\"0x4\" offset=\"{offset:#x}\" \
         hostOffset=\"0x0\" hostSize=\"0x4\" type=\"uint\"/><instance name=\"{kernel}_1\"><addrRemap base=\"0x1800000\" \
         range=\"0x10000\" port=\"S_AXI_CONTROL\"/></instance></kernel></core></device></platform></project>"
    );
    xml
}

fn container(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = vec![0; HEAD + SECTION_HEADER * sections.len()];
    file[..7].copy_from_slice(b"xclbin2");
    file[8..12].copy_from_slice(&(-1i32).to_le_bytes()); // unsigned
    file[12..40].fill(0xff);
    file[332 - 2] = 2; // version 2.0.0
    file[352..352 + PLATFORM.len()].copy_from_slice(PLATFORM.as_bytes());
    file[416..432].copy_from_slice(b"hypersonic tests");
    file[448..452].copy_from_slice(&(sections.len() as u32).to_le_bytes());
    for (i, (kind, bytes)) in sections.iter().enumerate() {
        file.resize(file.len().next_multiple_of(8), 0);
        let offset = file.len() as u64;
        let header = &mut file[HEAD + SECTION_HEADER * i..][..SECTION_HEADER];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&offset.to_le_bytes());
        header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        file.extend(bytes);
    }
    let length = file.len() as u64;
    file[304..312].copy_from_slice(&length.to_le_bytes());
    file
}
