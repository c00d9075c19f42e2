//! The one binary.

mod cli;
mod serving;

fn main() -> std::process::ExitCode {
    cli::main()
}
