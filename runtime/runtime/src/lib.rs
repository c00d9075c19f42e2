//! What runs a model.
//!
//! A [`Backend`] loads a [`Model`] into an [`Executable`], which takes and gives [`Tensor`]s under the model's
//! ONNX names, shapes and element types, any number of rows at a time. Both traits are synchronous and work
//! through `&self`, so that a server shares one executable between threads.
//!
//! A [`Buffer`] is a tensor as it travels between processes: bytes that are shared and not copied. An [`Input`] may also
//! lie where others can change it, and is read when it is needed.
//!
//! [`codes`] is the one place where a host's numbers become codes of a Program, or a card's packed rows, and back;
//! [`convert`] changes their element type; [`npy`] and [`npz`] read and write NumPy's files, [`golden`] the reference
//! vectors of a model. [`isa`] compiles loops for several instruction sets.

mod backend;
mod buffer;
mod card;
pub mod codes;
pub mod convert;
mod error;
pub mod golden;
mod input;
pub mod isa;
pub mod npy;
pub mod npz;
mod order;
mod quantize;
mod rows;
mod tensor;
mod values;

pub use backend::{Availability, Backend, Device, Executable, Model, Registry, TensorInfo, check_inputs};
pub use buffer::{Buffer, BufferError, Datatype, byte_strings};
pub use card::{CardState, CardStatus, UnitStatus};
pub use error::{LoadError, RunError};
pub use input::{Input, Payload, Remote, Source};
pub use tensor::{Data, Dtype, Element, Tensor, TensorError};
pub use values::Values;
