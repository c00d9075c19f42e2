//! The one binary.

mod cli;
#[cfg_attr(not(test), expect(dead_code, reason = "no verb serves yet"))]
mod serving;

fn main() -> std::process::ExitCode {
    cli::main()
}
