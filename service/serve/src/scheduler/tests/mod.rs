//! The scheduler with backends that do as they are told.

mod fake;
mod policy;

use std::{sync::Arc, time::Duration};

pub(super) use fake::{Fake, Gates};

use super::*;

/// Long enough for anything that happens at all.
pub(super) const LONG: Duration = Duration::from_secs(60);
