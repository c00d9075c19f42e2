//! Files that XRT must not see; none of these tests needs XRT.

use std::fs;

use hs_xclbin::SectionKind;
use hs_xrt::{Xclbin, XclbinError};

use crate::minimal::Minimal;

fn refused(bytes: &[u8]) -> String {
    let error = Xclbin::new(bytes).unwrap_err();
    assert!(matches!(error, XclbinError::Refused(_)), "{error}");
    error.to_string()
}

fn with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = Minimal::default().bytes();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// Where the bytes of a section are.
fn section(kind: SectionKind) -> usize {
    let xclbin = Minimal::default().xclbin();
    let index = xclbin.sections().iter().position(|s| s.kind() == kind).unwrap();
    xclbin.offset(index).unwrap() as usize
}

#[test]
fn xrt_is_not_given_a_truncated_file() {
    let whole = Minimal::default().bytes();
    Xclbin::new(&whole).unwrap();
    for length in 0..whole.len() {
        refused(&whole[..length]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.xclbin");
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let error = Xclbin::read(&path).unwrap_err().to_string();
    assert!(
        error.starts_with("the xclbin is refused: the file, byte 304: ") && error.contains("cut off"),
        "{error}"
    );
    let error = Xclbin::read(folder.path().join("none.xclbin")).unwrap_err().to_string();
    assert!(error.contains("none.xclbin: No such file"), "{error}");
}

#[test]
fn xrt_is_not_given_a_file_of_another_kind() {
    assert!(refused(b"PK\x03\x04 a zip file").contains("this is no xclbin"));
}

#[test]
fn xrt_is_not_given_sections_outside_of_the_file() {
    let length = Minimal::default().bytes().len();
    for (at, value) in [
        (496 + 24, &(length as u64).to_le_bytes()[..]),
        (496 + 32, &u64::MAX.to_le_bytes()),
        (448, &u32::MAX.to_le_bytes()),
    ] {
        assert!(refused(&with(at, value)).contains("the file, byte "), "{at}");
    }
}

#[test]
fn xrt_is_not_given_tables_that_count_more_than_they_have() {
    for (kind, has) in
        [(SectionKind::MEM_TOPOLOGY, 2), (SectionKind::CONNECTIVITY, 2), (SectionKind::IP_LAYOUT, 1)]
    {
        for count in [has + 1, i32::MAX, -1] {
            let said = refused(&with(section(kind), &count.to_le_bytes()));
            assert!(said.starts_with(&format!("the xclbin is refused: {kind}, byte ")), "{said}");
        }
    }
    let clocks = section(SectionKind::CLOCK_FREQ_TOPOLOGY);
    for count in [2, i16::MAX, -1] {
        refused(&with(clocks, &count.to_le_bytes()));
    }
}

#[test]
fn xrt_is_not_given_names_without_an_end() {
    for (at, size) in [
        (352, 64),
        (section(SectionKind::MEM_TOPOLOGY) + 8 + 24, 16),
        (section(SectionKind::IP_LAYOUT) + 8 + 16, 64),
    ] {
        let said = refused(&with(at, &[b'x'; 64][..size]));
        assert!(said.contains("text in UTF-8 that a zero byte ends"), "{said}");
    }
}

#[test]
fn xrt_is_not_given_a_file_without_what_it_needs() {
    for kind in [
        SectionKind::BITSTREAM,
        SectionKind::EMBEDDED_METADATA,
        SectionKind::MEM_TOPOLOGY,
        SectionKind::IP_LAYOUT,
    ] {
        let said = refused(&Minimal { without: Some(kind), ..Minimal::default() }.bytes());
        assert!(said.contains(&format!("no section {kind}")), "{said}");
    }
    Xclbin::new(&Minimal { without: Some(SectionKind::CONNECTIVITY), ..Minimal::default() }.bytes()).unwrap();
}

#[test]
fn xrt_is_not_given_connections_to_what_is_not_there() {
    let table = section(SectionKind::CONNECTIVITY) + 4;
    for (field, what) in [(0, "argument 9"), (4, "IP 9"), (8, "memory 9")] {
        let said = refused(&with(table + field, &9_u32.to_le_bytes()));
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn xrt_is_not_given_scalars_by_address() {
    for scalar in ["int*", "uint*", "int&#42;"] {
        let said = Xclbin::new(&Minimal { scalar, ..Minimal::default() }.bytes()).unwrap_err().to_string();
        assert!(
            said.contains("the scalar argument 'rows' that is passed by its address"),
            "{scalar}: {said}"
        );
    }
}

#[test]
fn xrt_gets_no_file_that_a_changed_byte_makes_lie() {
    // Whatever one byte of the file is changed to, the check ends, with an answer.
    let whole = Minimal::default().bytes();
    let mut refused = 0;
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            refused += usize::from(Xclbin::new(&bytes).is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}
