//! Programs as text: a bug report is a text file.
//!
//! ```text
//! program "digits" version 1
//!
//! %0 = input "x" {index: 0, tensor: "x", onnx_shape: [1, 8, 8], perm: [1, 2, 0]} : [8, 8, 1] ufixed<8,0,RND,SAT>
//! %1 = dot(%0) "conv1/Conv" {
//!   window: [{kernel: 2, stride: 2, dilation: 1, pad: [0, 0]}, {kernel: 2, stride: 2, dilation: 1, pad: [0, 0]}],
//!   groups: 1,
//!   weight: fixed<8,1>[1, -2, 3, 4],
//!   accum: exact{format: fixed<18,3>},
//!   act: clamp{lo: 0},
//! } : [4, 4, 1] ufixed<16,2,RND,SAT>
//! %2 = output(%1) "y" {index: 0, tensor: "y", onnx_shape: [1, 4, 4], perm: [1, 2, 0]} : [4, 4, 1] ufixed<16,2,RND,SAT>
//! ```
//!
//! Grammar, with `//` comments to the end of the line and free white space:
//!
//! ```text
//! program = "program" string "version" "1" node*
//! node    = "%" int "=" keyword [ "(" "%" int ("," "%" int)* ")" ] string [record] ":" "[" ints "]" type
//! value   = int | string | "[" ints "]" | "[" values "]" | record | word [record] | format | type
//!         | format "[" ints "]" | format "side" record
//! record  = "{" word ":" value ("," word ":" value)* [","] "}"
//! ```
//!
//! A word with an optional record is a variant of a Rust enum and its fields; a field that is not there is
//! `None`. A format has no modes (`fixed<8,1>`), a type has both. Constants stand in the text, or with
//! [`print_with_side`] the larger ones as `side{offset: …, count: …}` in a byte string beside it.
//!
//! `parse(print(p)) == p` for every Program whose nodes read only earlier ones, and printing is canonical:
//! the same Program gives the same bytes.

mod attrs;
mod parse;
mod print;
mod side;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{Codes, Program};

pub use side::SideError;

/// Version of the text form.
pub const TEXT_VERSION: i64 = 1;

/// Constants of at most this many codes stay in the text of [`print_with_side`].
const INLINE: usize = 16;

/// Text that is no Program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: found {found}, expected {expected}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

/// The whole Program as text, constants included.
pub fn print(program: &Program) -> String {
    let mut out = String::new();
    print::program(&mut out, program, &mut print::Constants::Inline);
    out
}

/// The Program as text and the bytes that hold its larger constants: each code a little-endian integer of
/// 1, 2, 4 or 8 bytes, the fewest that hold the constant's format, constants back to back in node order.
///
/// An error names a code that its own format cannot hold; the verifier refuses such Programs.
pub fn print_with_side(program: &Program) -> Result<(String, Vec<u8>), SideError> {
    let mut out = String::new();
    let mut side = side::Writer::default();
    print::program(&mut out, program, &mut print::Constants::Side(&mut side));
    Ok((out, side.finish()?))
}

/// Canonical text of the bits alone, for fingerprints: the names of nodes and of the Program are empty and
/// constants are their digests.
pub(crate) fn canonical(program: &Program) -> String {
    let mut out = String::new();
    print::program(&mut out, program, &mut print::Constants::Digest);
    out
}

/// SHA-256 over the codes, each as 8 bytes little-endian.
fn digest(codes: &Codes) -> String {
    let mut sha = Sha256::new();
    let mut bytes = Vec::with_capacity(8 * 1024);
    for chunk in codes.data.chunks(1024) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|c| c.to_le_bytes()));
        sha.update(&bytes);
    }
    crate::fingerprint::hex(&sha.finalize())
}

/// Reads a Program whose constants all stand in the text. The result is not verified.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    parse_with_side(text, &[])
}

/// Reads a Program and the byte string with its larger constants. The result is not verified. References
/// into `side` must follow each other without gap or overlap and use all of it, so that memory stays within
/// a constant factor of the two arguments.
pub fn parse_with_side(text: &str, side: &[u8]) -> Result<Program, ParseError> {
    parse::program(text, side)
}

impl fmt::Display for Program {
    /// The text form, constants included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

impl std::str::FromStr for Program {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text)
    }
}
