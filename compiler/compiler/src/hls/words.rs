//! Weights that a kernel reads from memory before its first row, instead of holding them as constants.

use hs_hw::Op;
use hs_hw::abi::BEAT_BYTES;

use super::design::{Array, Design};
use super::layout::is_tree;
use super::{EmittedFile, KERNEL_WEIGHTS};

/// How the weights that a kernel loads lie in memory: words of the codes that one cycle reads, each word padded so
/// that a beat holds a whole number of words, or a word takes a whole number of beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WordLayout {
    /// Codes of a word.
    pub(crate) codes: usize,
    /// Words.
    pub(crate) words: usize,
    /// Bytes of a code: 1, 2, 4 or 8.
    pub(crate) code_bytes: usize,
    /// Bytes from one word to the next: a power of two below a beat, or whole beats.
    pub(crate) stride: usize,
}

/// Memory of a loaded array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Lutram,
    Bram,
    Uram,
}

impl Storage {
    /// Its name in a BIND_STORAGE directive.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lutram => "lutram",
            Self::Bram => "bram",
            Self::Uram => "uram",
        }
    }
}

impl WordLayout {
    /// Of a dot's weights.
    pub(crate) fn of(design: &Design<'_>, array: &Array) -> Self {
        let Op::Dot(d) = &design.program.node(array.node).op else {
            unreachable!("only a dot's weights are loaded");
        };
        let layout = design.dot_layout(array.node, d).expect("checked");
        let codes = if is_tree(&d.accum) { layout.terms } else { layout.multipliers() };
        let code_bytes = array.bytes();
        let bytes = codes * code_bytes;
        let stride =
            if bytes <= BEAT_BYTES { bytes.next_power_of_two() } else { bytes.next_multiple_of(BEAT_BYTES) };
        Self { codes, words: array.data.len() / codes, code_bytes, stride }
    }

    /// Memory that such an array is put into: by its depth, as its width is that of a word.
    pub(crate) fn storage(&self) -> Storage {
        match self.words {
            0..=64 => Storage::Lutram,
            65..=512 => Storage::Bram,
            _ => Storage::Uram,
        }
    }

    /// Beats of the whole array.
    pub(crate) fn beats(&self) -> usize {
        (self.words * self.stride).div_ceil(BEAT_BYTES)
    }
}

/// The loaded arrays in the order they lie in memory, each with its layout and its first byte.
pub(crate) fn loaded<'a>(design: &'a Design<'_>) -> Vec<(&'a Array, WordLayout, usize)> {
    let mut next = 0;
    let mut found = Vec::new();
    for array in design.arrays.values().filter(|a| a.loaded) {
        let layout = WordLayout::of(design, array);
        found.push((array, layout, next));
        next += layout.beats() * BEAT_BYTES;
    }
    found
}

/// What a kernel's pointer to weights points to: the loaded arrays one after the other, each from a beat of its own.
pub(crate) fn weights(design: &Design<'_>) -> Option<EmittedFile> {
    let mut bytes = Vec::new();
    for (array, layout, first) in loaded(design) {
        for (i, word) in array.data.chunks(layout.codes).enumerate() {
            bytes.resize(first + i * layout.stride, 0);
            bytes.extend(word.iter().flat_map(|code| code.to_le_bytes().into_iter().take(layout.code_bytes)));
        }
        bytes.resize(first + layout.beats() * BEAT_BYTES, 0);
    }
    (!bytes.is_empty()).then(|| EmittedFile { path: KERNEL_WEIGHTS.to_owned(), bytes })
}
