//! Cards through Xilinx's OpenCL, opened at run time: for hosts and services that are bound to it.
//!
//! ```no_run
//! use hs_opencl::{OpenCl, Ports};
//!
//! # fn main() -> Result<(), hs_opencl::Error> {
//! let card = OpenCl::open()?.card(0)?;
//! let program = card.load(&std::fs::read("digits.xclbin").unwrap())?;
//! let ports = Ports { inputs: vec![4096], outputs: vec![704] };
//! let mut slot = program.unit("digits_kernel", "digits_kernel_1", None)?.slot(&ports)?;
//! let mut y = vec![0; 704];
//! slot.copy_to_card(&[&[0; 4096]])?;
//! slot.run(64)?;
//! slot.copy_from_card(&mut [&mut y])?;
//! # Ok(())
//! # }
//! ```
//!
//! Steps block, and slots are independent: a thread a slot keeps copies and runs of several under way. The library below is
//! XRT, which ends the process that it runs in where other libraries return an error. What is known to do so is refused
//! before: an environment in which XRT aborts, a file that is no xclbin or not whole, a compute unit that is not in it,
//! buffers that do not fit its arguments. What is left is the card: while a run does not end, its slot cannot be dropped, and
//! the process must end by [`hs_xrt::leave`]. So a program that must live opens a card in a process of its own, in its own
//! process group.

mod card;
mod error;
mod slot;

pub use card::{Card, OpenCl, Program, Unit};
pub use error::Error;
pub use slot::{Ports, Slot};
