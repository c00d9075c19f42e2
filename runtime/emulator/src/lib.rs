//! Bit-accurate execution of hardware Programs on the CPU.
//!
//! [`Emulator`] runs a verified [`Program`](hs_hw::Program) on any number of rows. Its results are those of
//! [`hs_hw::interp`], bit for bit, whatever the number of threads, the block size or the instruction set.
//!
//! How it is fast: rows go through the whole network in blocks, so that activations stay in cache. A tensor of a
//! block lies in memory as `[element][lane]`, one lane a row of the batch, which makes every op a loop over
//! lanes; or, for convolutions and few rows, as `[row][element]`, see [`Layout`]. At load time exact value ranges over
//! the actual weights tell for each node how wide its integers must be and which casts cannot act: operands of 8 and 16
//! bits share words, and sums are cast, scaled and packed in the registers they grew in. [`Emulator::plan`] shows what
//! was chosen and why, [`Emulator::measured_plan`] what it brings.

mod cast;
mod compile;
mod dot;
mod eltwise;
mod executable;
mod finish;
mod io;
mod lane;
mod lut;
mod moves;
mod plan;
mod pool;
mod rows;
mod run;
mod softmax;
mod step;
mod sum;
mod transpose;
mod windows;
mod workers;

pub use executable::EmulatorBackend;
pub use hs_runtime::isa::Isa;
pub use lane::Width;
pub use plan::{Layout, NodePlan, Plan};
pub use run::{Emulator, Options, PlanError};
