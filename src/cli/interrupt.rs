//! Ctrl-C and SIGTERM, for verbs that must stop what they started first: a process in a group of its own does not hear of
//! them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on these signals end nothing by themselves.
pub(crate) fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        thread::spawn(|| {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                let both = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
                if let (Ok(mut interrupt), Ok(mut terminate)) = both {
                    tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
                    INTERRUPTED.store(true, Ordering::Relaxed);
                }
            });
        });
    });
}

/// Whether one came.
pub(crate) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
