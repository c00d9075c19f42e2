//! The kernel around the network: memory ports, packing and unpacking of rows.

use hs_hw::{Op, ValueId, abi::RowLayout};

use super::cost::{Resources, bram18, mux};
use super::layer::Style;
use super::{beats, bits};
use crate::hls::design::Design;

/// Bits of a memory port.
const PORT_BITS: u64 = 512;
/// Bytes of a beat of a memory port.
const PORT_BYTES: u64 = PORT_BITS / 8;
/// Beats that a port buffers in each direction: its outstanding bursts (UG1399, `num_read_outstanding` ×
/// `max_read_burst_length`).
const PORT_BEATS: u64 = 16 * 64;
/// Logic of a port and of its share of the interconnect (a guess).
const PORT: Resources = Resources { lut: 3_000, ff: 6_000, dsp: 0, bram18: 0, uram: 0 };

/// The kernel's own part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) resources: Resources,
    /// Cycles to load and unpack a row: the slowest input's.
    pub(super) load: u64,
    /// Cycles to pack and store a row: the slowest output's.
    pub(super) store: u64,
    /// Bytes of a row, in and out.
    pub(super) row_bytes: u64,
}

/// Ports of the kernel. A row passes at 64 bytes a cycle, and a beat of the network a cycle.
pub(super) fn ports(design: &Design<'_>, _style: Style) -> Ports {
    let mut ports = Ports { resources: Resources::default(), load: 0, store: 0, row_bytes: 0 };
    let buffer = Resources { bram18: bram18(PORT_BEATS, PORT_BITS), ..Resources::default() };
    for (id, node) in design.program.iter() {
        let (stride, cycles) = match node.op {
            Op::Input { .. } => (stride(design, id), &mut ports.load),
            Op::Output { .. } => (stride(design, id), &mut ports.store),
            Op::Const(_)
            | Op::Dot(_)
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Pool(_)
            | Op::Softmax(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Pad { .. } => continue,
        };
        *cycles = (*cycles).max(stride.div_ceil(PORT_BYTES)).max(beats(design, id));
        ports.row_bytes += stride;
        let row = bits(node.format()) * node.len() as u64;
        ports.resources +=
            PORT + buffer + gearbox(stride) + Resources { ff: row, lut: row, ..Resources::default() };
    }
    if design.arrays.values().any(|a| a.loaded) {
        ports.resources += PORT + buffer;
    }
    ports
}

fn stride(design: &Design<'_>, id: ValueId) -> u64 {
    RowLayout::of(design.program.node(id)).stride as u64
}

/// What shifts rows to the places where they lie in beats: a choice of 64 / gcd(stride, 64) places.
fn gearbox(stride: u64) -> Resources {
    let places = PORT_BYTES / gcd(stride, PORT_BYTES);
    mux(places, PORT_BITS) + Resources { ff: 2 * PORT_BITS, ..Resources::default() }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
