//! Fixed-point numbers with the semantics of Xilinx's `ap_fixed`.
//!
//! A number is an integer *code* on a grid: value = code × 2^-frac. A [`Format`] is the grid and its
//! range (signedness, width, integer bits); a [`Type`] adds what a cast does with the bits that do not
//! fit ([`Rounding`], [`Overflow`]). Expression types are exact, so only a cast can lose anything.
//!
//! Nothing else in the workspace rounds or overflows; everything else calls [`Type::cast`].

mod format;
mod interval;
mod modes;
mod spell;

pub use format::{Format, FormatError, MAX_INT, MAX_WIDTH};
pub use interval::Interval;
pub use modes::{Overflow, Rounding, Type, round, round_to};
pub use spell::{Modes, ParseTypeError, parse_type};
