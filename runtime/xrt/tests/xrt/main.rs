//! XRT itself, in its `noop` emulation, which does all but compute, and what is refused before XRT sees it.

mod calls;
mod child;
mod files;
mod minimal;
mod refused;
