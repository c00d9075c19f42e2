//! The one binary.

mod cli;
mod emulated_card;
mod serving;

fn main() -> std::process::ExitCode {
    if emulated_card::is_asked_for(std::env::args_os().next().as_deref()) {
        return emulated_card::main();
    }
    cli::main()
}
