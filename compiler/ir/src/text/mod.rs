//! The text form.
//!
//! ```text
//! graph "mlp"
//! input "x": f32[1, 64]
//! const "w": f32[48, 64] = [0.5, ...]
//! node "Gemm_0" Gemm("x", "w", _) -> ("h": f32[1, 48]) {transB = 1} from ["Gemm_0"]
//! output "h"
//! ```
//!
//! An unknown type or shape is written `?`. Constants that came out of a quantiser end in their grid. The elements of
//! large constants are summarised by `Display` and written out by [`crate::Graph::to_text`]; only the latter parses.

mod lex;
mod parse;
mod print;

/// Text that is not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What was found and expected.
    pub message: String,
}
