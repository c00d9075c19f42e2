//! The one binary.

mod cli;
mod emulated_card;
mod serving;

fn main() -> std::process::ExitCode {
    // The server starts itself anew for each card, with XRT in that process only.
    if std::env::args_os().nth(1).is_some_and(|first| first == hs_backend_xrt::WORKER) {
        hs_backend_xrt::worker()
    }
    if emulated_card::is_asked_for(std::env::args_os().next().as_deref()) {
        return emulated_card::main();
    }
    cli::main()
}
