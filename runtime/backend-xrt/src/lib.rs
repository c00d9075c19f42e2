//! The backend `xrt`: packages on cards.
//!
//! XRT ends the process that it runs in where other libraries return an error, and a kernel that hangs can be left by
//! ending the process only. So each card has a worker process, the only one that opens XRT ([`worker`]); this side
//! supervises it. Rows are packed straight into memory that both share, in the buffer slots of the compute units; what
//! to do in which slot is decided on this side by [`hs_card::Scheduler`], and told through a socket:
//!
//! ```text
//! Executable ─ rows ─▶ card's thread ── transfer, run, transfer ──▶ worker process ─▶ XRT ─▶ card
//!    ▲ packs, unpacks      Scheduler                                     │
//!    └──────────────────── memory of the slots, shared ──────────────────┘
//! ```
//!
//! A worker that dies or hangs is killed with its process group. The rows that it had are run on the other cards of the
//! model, or the call fails and whoever called runs them elsewhere; bits are the same everywhere. The worker is started
//! again with growing pauses. Before a card gets rows, at first and after each start, each compute unit computes rows
//! whose results are known; later a row is computed again on the CPU now and then, and a card that got it wrong is
//! started again.

mod arena;
mod backend;
mod card;
mod executable;
mod golden;
mod link;
mod native;
mod opencl;
mod options;
mod plan;
mod process;
mod protocol;
mod shells;
mod slot;
mod spot;
mod status;
mod worker;

pub use backend::XrtBackend;
pub use process::{PROBE_LIMIT, Probed, probe};
pub use shells::shell;
pub use worker::{WORKER, worker};
