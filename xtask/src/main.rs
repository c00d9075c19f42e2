//! Repository chores: `cargo xtask codegen` regenerates the checked-in protobuf code, `cargo xtask bindgen-xrt` the
//! bindings of XRT, `cargo xtask bench serve` measures the server and `cargo xtask bench emulator` the emulator beside others,
//! `cargo xtask bench rows` the packing of rows.

use std::process::ExitCode;

mod bench;
mod bindgen_xrt;
mod codegen;

const CODEGEN: &str = "\
cargo xtask codegen        regenerate the checked-in protobuf code
cargo xtask bindgen-xrt    regenerate the checked-in bindings of XRT (needs its headers and libclang)";

#[allow(clippy::print_stdout)]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["codegen"] => codegen::write_all()
            .map(|files| files.iter().for_each(|file| println!("{}", file.display())))
            .map_err(|e| e.to_string()),
        ["bindgen-xrt"] => {
            bindgen_xrt::write().map(|file| println!("{}", file.display())).map_err(|e| e.to_string())
        }
        ["bench", "serve", ..] => bench::serve(&args[2..]).map_err(|e| e.to_string()),
        ["bench", "emulator", ..] => bench::emulator(&args[2..]).map_err(|e| e.to_string()),
        ["bench", "xrt", ..] => bench::xrt(&args[2..]).map_err(|e| e.to_string()),
        ["bench", "rows", ..] => bench::rows(&args[2..]).map_err(|e| e.to_string()),
        _ => {
            eprintln!("usage:\n{CODEGEN}\n{}", bench::USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
