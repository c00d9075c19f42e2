//! The kernel around the network: memory ports, packing and unpacking of rows, loading of weights.

use hs_hw::ValueId;

use super::bits;
use super::cost::{Resources, bram18, delay, fifo, memory, mux};
use super::layer::Style;
use crate::hls::design::Design;
use crate::hls::kernel::{BURST, OUTSTANDING, PORT_DEPTH, Port, WORD_DEPTH};
use crate::hls::words;

/// Bits of a memory port.
const PORT_BITS: u64 = 512;
/// Bytes of a beat of a memory port.
const PORT_BYTES: usize = PORT_BITS as usize / 8;
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
    /// Cycles to hand a row to a parallel network as words, all inputs and outputs one after the other.
    pub(super) words: u64,
    /// The most words of one input or output.
    pub(super) most_words: u64,
    /// Cycles to load the weights, once a launch.
    pub(super) weights: u64,
    /// Bytes of a row, in and out.
    pub(super) row_bytes: u64,
}

/// Ports of the kernel. Beats pass at 64 bytes a cycle, words of a piece at one a cycle.
pub(super) fn ports(design: &Design<'_>, style: Style) -> Ports {
    let mut ports = Ports {
        resources: Resources::default(),
        load: 0,
        store: 0,
        words: 0,
        most_words: 0,
        weights: 0,
        row_bytes: 0,
    };
    let (inputs, outputs) = (design.program.inputs(), design.program.outputs());
    let both = inputs.into_iter().map(|id| (id, true)).chain(outputs.into_iter().map(|id| (id, false)));
    for (id, loads) in both {
        let port = Port::new(design, id);
        let beats = port.rows.stride.div_ceil(PORT_BYTES);
        // Cutting takes a step a word, and one more where the padding spills over.
        let steps = port.pieces * (port.piece + port.pad).div_ceil(PORT_BYTES);
        let slowest = beats.max(steps).max(port.words()) as u64;
        let side = if loads { &mut ports.load } else { &mut ports.store };
        *side = (*side).max(slowest);
        ports.words += port.words() as u64;
        ports.most_words = ports.most_words.max(port.words() as u64);
        ports.row_bytes += port.rows.stride as u64;
        ports.resources += memory_port() + gearbox(&port) + packing(design, id, style);
    }
    let loaded = words::loaded(design);
    if !loaded.is_empty() {
        ports.resources += memory_port();
    }
    ports.weights = loaded.iter().map(|(_, layout, _)| layout.beats() as u64).sum();
    ports
}

/// A port with what it buffers: `num_read_outstanding` × `max_read_burst_length` beats in the direction that is used, a
/// burst in the other (UG1399, m_axi resources).
fn memory_port() -> Resources {
    let buffered = (OUTSTANDING * BURST) as u64;
    let used = Resources { bram18: bram18(buffered, PORT_BITS), ..Resources::default() };
    PORT + used + memory(BURST as u64, PORT_BITS)
}

/// What shifts rows to the places where they lie in beats, and its FIFOs: a choice of 64 / unit places.
fn gearbox(port: &Port) -> Resources {
    let places = (PORT_BYTES / port.unit.max(1)) as u64;
    let word = 8 * port.word() as u64;
    let held = Resources { ff: 2 * PORT_BITS, ..Resources::default() };
    mux(places, word) + held + fifo(PORT_DEPTH as u64, PORT_BITS) + fifo(WORD_DEPTH as u64, word)
}

/// A row's elements, or a beat's, beside their words.
fn packing(design: &Design<'_>, id: ValueId, style: Style) -> Resources {
    let node = design.program.node(id);
    let elements = match style {
        Style::Stream => node.channels(),
        Style::Arrays | Style::Unrolled => node.len(),
    };
    delay(1, bits(node.format()) * elements as u64)
}
