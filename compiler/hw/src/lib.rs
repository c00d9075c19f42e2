//! The hardware IR.
//!
//! A [`Program`] is *the bits* of a model: fixed-point dataflow ops in topological order, every width,
//! rounding, overflow mode and place of a cast explicit. `SPEC.md` beside this crate is normative and
//! [`interp`] is its executable form. A [`Schedule`] says how the Program is laid out in hardware and never
//! changes a bit.
//!
//! The op set is closed: each consumer matches [`Op`] exhaustively, without a wildcard arm.

pub mod abi;
pub mod fingerprint;
pub mod interp;
mod op;
mod program;
pub mod range;
mod schedule;
pub mod testing;
pub mod text;
mod verify;

pub use fingerprint::Fingerprint;
pub use op::{
    Accum, Act, Average, BinaryOp, Codes, Divide, Dot, Index, Lut, Op, Order, Pool, PoolKind, Softmax,
    SoftmaxKind, SoftmaxTables, Window,
};
pub use program::{Node, Program, ValueId};
pub use schedule::{Fifo, Io, LayerSchedule, Schedule, Strategy};
pub use verify::VerifyError;

/// Version of the kernel ABI (row packing, trailer) that fingerprints include.
pub const KERNEL_ABI: u32 = 1;
