//! The xclbin: the container of a bitstream and of what XRT must know of it.
//!
//! A file is a header, a table of sections and the sections. [`Xclbin::parse`] reads any of them and
//! [`Xclbin::to_bytes`] gives the same bytes back; sections whose kind is not known are bytes. The sections that this
//! crate knows have a reader and a writer each: [`Memory`], [`Connection`], [`Ip`] and [`Clock`] are tables,
//! [`EmbeddedMetadata`] is XML, [`PartitionMetadata`] a flattened device tree, [`UserMetadata`] JSON of our own.
//! [`Design`] is all of that put together and checked: kernels, their arguments and compute units by name. A file that
//! has a Design is one that XRT can be given; XRT itself believes what it reads. [`Builder`] makes such a file for
//! kernels with the standard control registers.
//!
//! Nothing that is read is believed: a file of n bytes takes memory and time in proportion to n, whatever it says of
//! itself, and what does not fit is an [`XclbinError`].

mod build;
mod check;
mod container;
mod cursor;
mod design;
mod error;
mod metadata;
mod partition;
mod tables;
mod user;
mod uuid;

pub use build::{ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec};
pub use check::{Difference, Expected};
pub use container::{Agfi, Header, Mode, ParseAgfiError, Section, SectionKind, Version, Xclbin};
pub use design::{Argument, ComputeUnit, Design, Kernel};
pub use error::{Within, XclbinError};
pub use metadata::{EmbeddedMetadata, Instance, KernelMetadata, Port, PortMode, Role};
pub use partition::PartitionMetadata;
pub use tables::{Clock, ClockKind, Connection, Ip, IpKind, Memory, MemoryKind, Protocol};
pub use user::UserMetadata;
pub use uuid::{ParseUuidError, Uuid};
