//! Files that XRT must not see; none of these tests needs XRT.

use std::fs;

use hs_xrt::{Xclbin, XclbinError};

use crate::minimal::Minimal;

fn refused(bytes: &[u8]) -> String {
    Xclbin::new(bytes).unwrap_err().to_string()
}

fn with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = Minimal::default().bytes();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// Where the bytes of a section are.
fn section(kind: u32) -> usize {
    let bytes = Minimal::default().bytes();
    let header = bytes[456..].chunks(40).find(|header| header[..4] == kind.to_le_bytes()).unwrap();
    u64::from_le_bytes(header[24..32].try_into().unwrap()) as usize
}

#[test]
fn xrt_is_not_given_a_truncated_file() {
    let whole = Minimal::default().bytes();
    Xclbin::new(&whole).unwrap();
    for length in 0..whole.len() {
        let error = Xclbin::new(&whole[..length]).unwrap_err();
        match length {
            0..8 => assert!(matches!(error, XclbinError::Magic), "{length}: {error}"),
            _ => assert!(matches!(error, XclbinError::Truncated { .. }), "{length}: {error}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.xclbin");
    fs::write(&path, &whole[..300]).unwrap();
    let error = Xclbin::read(&path).unwrap_err().to_string();
    assert_eq!(error, "the xclbin is truncated: it has 300 bytes, and should have 456");
    let error = Xclbin::read(folder.path().join("none.xclbin")).unwrap_err().to_string();
    assert!(error.contains("none.xclbin: No such file"), "{error}");
}

#[test]
fn xrt_is_not_given_a_file_of_another_kind() {
    assert_eq!(refused(b"PK\x03\x04 a zip file"), "not an xclbin: it does not begin with `xclbin2`");
}

#[test]
fn xrt_is_not_given_sections_outside_of_the_file() {
    let length = Minimal::default().bytes().len();
    let expected = format!("damaged at byte 496: section 1 has 88 bytes from byte {length} on, of {length}");
    let said = refused(&with(496 + 24, &(length as u64).to_le_bytes()));
    assert!(said.contains(&expected), "{said}");
    let said = refused(&with(496 + 32, &u64::MAX.to_le_bytes()));
    assert!(said.contains("section 1 has 18446744073709551615 bytes"), "{said}");
    let said = refused(&with(448, &u32::MAX.to_le_bytes()));
    assert!(said.contains("damaged at byte 448: 4294967295 sections"), "{said}");
}

#[test]
fn xrt_is_not_given_tables_that_count_more_than_they_have() {
    for (kind, size, has) in [(6, 40, 2), (7, 12, 2), (8, 80, 1)] {
        for count in [has + 1, i32::MAX, -1] {
            let said = refused(&with(section(kind), &count.to_le_bytes()));
            let expected =
                format!("section of kind {kind} counts {count} records of {size} bytes and has {has}");
            assert!(said.contains(&expected), "{said}");
        }
    }
}

#[test]
fn xrt_is_not_given_names_without_an_end() {
    for (at, what, size) in [
        (352, "platform's name", 64),
        (section(6) + 8 + 24, "name of a memory bank", 16),
        (section(8) + 8 + 16, "name of a compute unit", 64),
    ] {
        let said = refused(&with(at, &[b'x'; 64][..size]));
        assert!(
            said.contains(&format!("at byte {at}: the {what} does not end within its {size} bytes")),
            "{said}"
        );
    }
}

#[test]
fn xrt_is_not_given_a_file_without_what_it_needs() {
    for (kind, name) in [(2, "EMBEDDED_METADATA"), (6, "MEM_TOPOLOGY"), (8, "IP_LAYOUT")] {
        let said = refused(&Minimal { without: Some(kind), ..Minimal::default() }.bytes());
        assert!(said.contains(&format!("no section {name}")), "{said}");
    }
    Xclbin::new(&Minimal { without: Some(7), ..Minimal::default() }.bytes()).unwrap();
}

#[test]
fn xrt_is_not_given_scalars_by_address() {
    for scalar in ["int*", "uint*", "int&#42;"] {
        let said = refused(&Minimal { scalar, ..Minimal::default() }.bytes());
        assert!(
            said.contains("the scalar argument 'rows' that is passed by its address"),
            "{scalar}: {said}"
        );
    }
}

#[test]
fn xrt_gets_no_file_that_a_changed_byte_makes_lie() {
    // Whatever one byte of the headers and tables is changed to, the check ends, with an answer.
    let whole = Minimal::default().bytes();
    let mut refused = 0;
    for at in 0..section(2) {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            refused += usize::from(Xclbin::new(&bytes).is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}
