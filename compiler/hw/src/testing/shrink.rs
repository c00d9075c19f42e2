//! Makes a failing Program small.

use crate::Program;

/// placeholder
pub fn shrink(program: Program, mut still_fails: impl FnMut(&Program) -> bool) -> Program {
    let _ = still_fails(&program);
    program
}
