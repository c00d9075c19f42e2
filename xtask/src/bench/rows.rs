//! `cargo xtask bench rows`: packing tensors into a card's rows, beside a copy of their bytes.

use std::process::Command;

use super::{BenchError, USAGE, cargo, machine, output, revision, target};

/// Builds and runs the example of `hs-runtime` that measures, and prints its table.
#[allow(clippy::print_stdout)]
pub(crate) fn rows(args: &[String]) -> Result<(), BenchError> {
    let only = match args {
        [] => None,
        [name, value] if name == "--only" => Some(value),
        _ => return Err(BenchError::Usage(format!("bench rows takes --only TEXT alone\n{USAGE}"))),
    };
    cargo(&["build", "--release", "--locked", "--quiet", "-p", "hs-runtime", "--example", "rows"])?;
    let table = output(Command::new(target().join("release/examples/rows")).args(only))?;
    let machine = machine();
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    println!("{}, load {}, revision {}\n\n{table}", text("cpu"), text("load_before"), revision());
    Ok(())
}
