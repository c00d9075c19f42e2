//! XRT's libraries: where they are, and the repair of one.

use std::env;
use std::path::{Path, PathBuf};

/// The library of the software emulation.
pub(super) const SHIM: &str = "libxrt_swemu.so.2";

/// Where distributions and AMD install them.
const USUAL: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/opt/xilinx/xrt/lib",
];

/// Where libraries are looked for, `XILINX_XRT` first.
pub(super) fn folders() -> Vec<PathBuf> {
    let installed = env::var_os("XILINX_XRT").filter(|root| !root.is_empty());
    installed.map(|root| Path::new(&root).join("lib")).into_iter().chain(USUAL.map(PathBuf::from)).collect()
}

/// Whether a file is one of XRT's libraries.
pub(super) fn is_ours(file: &str) -> bool {
    ["libxrt", "libxilinxopencl", "libxdp", "libxma2"].iter().any(|start| file.starts_with(start))
        && file.ends_with(".so.2")
}

/// Repairs a copy of the library of the software emulation, and tells at how many places the error was.
///
/// Debian's builds of XRT 2.13 have a buffer for messages that grows by `realloc`, and forget the new address: the next
/// message is written to freed memory. The branch that is taken when `realloc` gave memory is led to the instruction that
/// stores the address, which is there already, behind the call of `malloc` for the first buffer:
///
/// ```text
///        e8 ....          call malloc
///        48 89 83 disp32  mov  [rbx+disp32], rax     (85: rbp)   <- to here
///        …
///        e8 ....          call realloc
///        48 85 c0         test rax, rax
///        75 rel8          jne  …                                 -> eb rel8: jmp
///        48 8b bb disp32  mov  rdi, [rbx+disp32]     (bd: rbp)
///        e8 ....          call free
/// ```
///
/// Nothing is changed where there is no such place, or more than one.
pub(super) fn repair(code: &mut [u8]) -> usize {
    let places: Vec<(usize, i8)> = code
        .windows(13)
        .enumerate()
        .filter_map(|(at, window)| Some((at, store_before(code, at, window)?)))
        .collect();
    if let [(at, to)] = places[..] {
        code[at + 3] = 0xeb;
        code[at + 4] = to.cast_unsigned();
    }
    places.len()
}

/// The jump from the branch at `at` to the store that belongs to it, relative to the instruction after the branch.
fn store_before(code: &[u8], at: usize, window: &[u8]) -> Option<i8> {
    if window[..4] != [0x48, 0x85, 0xc0, 0x75] || window[5..7] != [0x48, 0x8b] || window[12] != 0xe8 {
        return None;
    }
    let base = match window[7] {
        0xbb => 0x83,
        0xbd => 0x85,
        _ => return None,
    };
    let store = [&[0x48, 0x89, base], &window[8..12]].concat();
    // As far as a short jump goes.
    let from = at.saturating_sub(0x7b);
    let store = from + code[from..at].windows(store.len()).rposition(|w| w == store)?;
    // It stores what a call gave.
    let call = store.checked_sub(5)?;
    let jump = i8::try_from(store as i64 - (at as i64 + 5)).ok()?;
    (code[call] == 0xe8).then_some(jump)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The code of the error, with other code around it.
    pub(crate) fn broken() -> Vec<u8> {
        let mut code = vec![0x90; 40];
        code.extend([0xe8, 1, 2, 3, 4]);
        code.extend([0x48, 0x89, 0x83, 0x10, 0x01, 0, 0]);
        code.extend([0x90; 30]);
        code.extend([0x48, 0x85, 0xc0, 0x75, 0x20]);
        code.extend([0x48, 0x8b, 0xbb, 0x10, 0x01, 0, 0, 0xe8, 9, 9, 9, 9]);
        code.extend([0x90; 40]);
        code
    }

    #[test]
    fn the_branch_goes_to_the_store() {
        let mut code = broken();
        assert_eq!(repair(&mut code), 1);
        let (branch, store) = (40 + 5 + 7 + 30, 45);
        let mut expected = broken();
        expected[branch + 3] = 0xeb;
        expected[branch + 4] = (store as i8 - (branch as i8 + 5)).cast_unsigned();
        assert_eq!(code, expected);
        assert_eq!(repair(&mut code), 0, "a second time there is nothing to repair");
    }

    #[test]
    fn other_code_is_left_alone() {
        for at in [40, 45, 46, 47, 48, 82, 84, 85, 87, 88, 89, 90, 94] {
            let mut code = broken();
            code[at] ^= 0x40;
            let before = code.clone();
            assert_eq!((repair(&mut code), code == before), (0, true), "{at}");
        }
        let twice = [broken(), broken()].concat();
        let mut code = twice.clone();
        assert_eq!((repair(&mut code), code == twice), (2, true));
        assert_eq!(repair(&mut []), 0);
    }
}
