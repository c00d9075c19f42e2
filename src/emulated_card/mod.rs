//! The process that XRT starts in the place of a card in its software emulation: this program under another name.
//!
//! XRT hands over two sections of the xclbin. BITSTREAM is an [`Image`], which `build --target emu` makes of a package;
//! EMBEDDED_METADATA tells where compute units and registers are. A run is that of the real kernel: packed rows and a
//! trailer in the card's memory (`SPEC.md`, section 7), computed by the emulator.

mod faults;
mod image;
mod kernel;

use std::{
    env,
    ffi::OsStr,
    io::Write as _,
    panic,
    path::Path,
    process::{ExitCode, abort},
    sync::Arc,
    time::Duration,
};

use hs_xrt_emu::{Error, connect, serve, socket};

pub(crate) use faults::FAULTS;
pub(crate) use image::Image;

use faults::Faults;
use kernel::Card;

/// How long XRT may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a program's first argument asks for this process.
pub(crate) fn is_asked_for(called: Option<&OsStr>) -> bool {
    called.and_then(|called| Path::new(called).file_name())
        == Some(OsStr::new(hs_xrt_emu::bed::DEVICE_PROCESS))
}

/// Serves a host until it closes the card. What goes wrong ends the process by `abort`: a host waits for ever for one
/// that exits.
pub(crate) fn main() -> ExitCode {
    let id = env::var("EMULATION_SOCKETID").unwrap_or_default();
    let device = device(&id);
    panic::set_hook(Box::new(move |panic| {
        say(device, &panic.to_string());
        abort();
    }));
    match serve_host(&id, device) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(device, &error.to_string());
            abort();
        }
    }
}

fn serve_host(id: &str, device: u32) -> Result<(), Error> {
    let user = env::var("USER").ok();
    let mut host = connect(&socket(user.as_deref(), id), PATIENCE)?;
    let faults = Faults::of_process(device);
    serve(&mut host, |image| match Card::load(image, faults.clone()) {
        Ok(card) => Some(Arc::new(card)),
        Err(why) => {
            say(device, &format!("the xclbin cannot be loaded: {why}"));
            None
        }
    })
}

/// The number of the card: XRT gives each process the name `deviceN_…`.
fn device(id: &str) -> u32 {
    let number = id.strip_prefix("device").and_then(|rest| rest.split('_').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Says something where the host's errors go.
fn say(device: u32, what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "hypersonic: emulated card {device}: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_socket_has_the_number_of_the_card() {
        assert_eq!((device("device0_0_7"), device("device12_3_456")), (0, 12));
        assert_eq!((device(""), device("devicex_0_7")), (0, 0));
    }

    #[test]
    fn the_process_is_asked_for_by_name() {
        for (called, asked) in
            [("/a/b/genericpciemodel", true), ("genericpciemodel", true), ("/a/hypersonic", false)]
        {
            assert_eq!(is_asked_for(Some(OsStr::new(called))), asked, "{called}");
        }
        assert!(!is_asked_for(None));
    }
}
