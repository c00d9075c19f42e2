//! The container.

use hs_xclbin::{Agfi, Section, SectionKind, Within, Xclbin, XclbinError};

use crate::{builder, file, put};

const LENGTH: usize = 304;
const COUNT: usize = 448;
const TABLE: usize = 456;

#[test]
fn the_header_is_where_the_format_has_it() {
    let bytes = file();
    assert_eq!(bytes[..12], *b"xclbin2\0\xff\xff\xff\xff");
    assert!(bytes[12..40].iter().all(|b| *b == 0xff));
    assert_eq!(bytes[LENGTH..LENGTH + 8], (bytes.len() as u64).to_le_bytes());
    assert_eq!(bytes[328..334], [0, 0, 2, 13, 5, 0]);
    assert_eq!(bytes[352..388], *b"xilinx_u280_gen3x16_xdma_1_202211_1\0");
    assert_eq!(bytes[COUNT..COUNT + 4], 9u32.to_le_bytes());
    // The first line of the table: BITSTREAM.
    assert_eq!(bytes[TABLE..TABLE + 20], *b"\0\0\0\0bitstream\0\0\0\0\0\0\0");
    let offset = TABLE + 9 * 40;
    assert_eq!(bytes[TABLE + 24..TABLE + 32], (offset as u64).to_le_bytes());
    assert_eq!(bytes[offset..offset + 14], *b"what is loaded");
}

#[test]
fn sections_start_at_multiples_of_eight_and_the_same_parts_give_the_same_bytes() {
    let (a, b) = (builder().build().unwrap(), builder().build().unwrap());
    assert_eq!(a.to_bytes(), b.to_bytes());
    assert!((0..a.sections().len()).all(|i| a.offset(i).unwrap().is_multiple_of(8)));
    let mut other = builder();
    other.bitstream.push(0);
    let other = other.build().unwrap();
    assert_ne!(other.header().uuid(), a.header().uuid());
    assert!(!a.header().uuid().is_nil() && !a.header().is_signed());
}

/// As another tool could write it: sections out of order, gaps that are not zero, an odd offset, an empty section, text
/// behind the sections that the length counts, and bytes that it does not.
fn odd() -> Vec<u8> {
    let mut bytes = vec![0x55; 456 + 4 * 40];
    put(&mut bytes, 0, b"xclbin2\0");
    put(&mut bytes, COUNT, &4u32.to_le_bytes());
    let lines: [(u32, u64, u64); 4] = [(77, 641, 5), (0, 617, 20), (16, 1 << 40, 0), (77, 650, 1)];
    for (i, (kind, offset, size)) in lines.into_iter().enumerate() {
        put(&mut bytes, TABLE + 40 * i, &kind.to_le_bytes());
        put(&mut bytes, TABLE + 40 * i + 24, &offset.to_le_bytes());
        put(&mut bytes, TABLE + 40 * i + 32, &size.to_le_bytes());
    }
    bytes.extend(1..=60);
    let length = bytes.len() as u64 - 7;
    put(&mut bytes, LENGTH, &length.to_le_bytes());
    bytes
}

#[test]
fn what_is_read_is_written_byte_for_byte() {
    for bytes in [file(), odd()] {
        let xclbin = Xclbin::parse(&bytes).unwrap();
        assert_eq!(xclbin.to_bytes(), bytes);
    }
    let xclbin = Xclbin::parse(&odd()).unwrap();
    let kinds: Vec<_> = xclbin.sections().iter().map(|s| s.kind().0).collect();
    assert_eq!(kinds, [77, 0, 16, 77]);
    assert_eq!(xclbin.sections()[0].data(), [26, 27, 28, 29, 30]);
    assert_eq!(xclbin.data(SectionKind(77)), Some(xclbin.sections()[0].data()));
    assert_eq!(SectionKind(77).to_string(), "section of kind 77");
    assert!(xclbin.header().is_signed());
}

#[test]
fn other_sections_make_another_file() {
    let read = Xclbin::parse(&file()).unwrap();
    let (header, mut sections) = read.clone().into_parts();
    let image = "agfi-0123456789abcdef0";
    sections.retain(|s| s.kind() != SectionKind::PARTITION_METADATA);
    sections[0] = Section::new(SectionKind::BITSTREAM, "bitstream", image.into()).unwrap();
    let aws = Xclbin::parse(&Xclbin::new(header, sections).to_bytes()).unwrap();
    assert_eq!(aws.agfi(), Some(image.parse::<Agfi>().unwrap()));
    assert_eq!((read.agfi(), aws.sections().len()), (None, 8));
    assert_ne!(aws.header().uuid(), read.header().uuid());
    assert_eq!(aws.header().platform(), read.header().platform());
    for bad in ["agfi-0123456789abcdef", "afi-0123456789abcdef00", "agfi-0123456789ABCDEF0", ""] {
        assert!(bad.parse::<Agfi>().is_err(), "{bad}");
    }
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let error = Xclbin::parse(bytes).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

#[test]
fn what_lies_of_itself_is_refused_with_place_found_and_expected() {
    let good = file();
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        put(&mut bytes, at, value);
        bytes
    };
    let n = good.len();
    refused(b"\x7fELF\x02\x01\x01\x00 and more", &["byte 0", "\"\\x7fELF", "\"xclbin2\\0\""]);
    refused(&good[..5], &["byte 0", "8 bytes", "5 are left"]);
    refused(&good[..300], &["byte 296", "the unique id takes 8 bytes", "4 are left"]);
    refused(&good[..n - 1], &["byte 304", &format!("is {n}"), &format!("at most {}", n - 1), "cut off"]);
    refused(&with(LENGTH, &[0; 8]), &["byte 304", "is 0", "at least 816"]);
    refused(&with(COUNT, &0x1_0001u32.to_le_bytes()), &["byte 448", "65537", "at most 65536"]);
    refused(&with(COUNT, &0x1_0000u32.to_le_bytes()), &["byte 456", "takes 2621440 bytes"]);
    refused(&with(TABLE + 24, &[0; 8]), &["byte 480", "the offset of section 0 is 0", "at least 816"]);
    refused(
        &with(TABLE + 32, &[0xff; 8]),
        &["section 0, BITSTREAM", "18446744073709551615", "the file's length"],
    );
    refused(&with(TABLE + 24, &[0xff; 8]), &["section 0, BITSTREAM", "the file's length"]);
    refused(&with(TABLE + 32, &[32, 0]), &["byte 520", "section 1, MEM_TOPOLOGY", "is 832", "at least 848"]);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let long = "n".repeat(16);
    for bad in [long.as_str(), "a\0b"] {
        let name = bad.to_owned();
        let error = Section::new(SectionKind::PDI, bad, Vec::new()).unwrap_err();
        assert_eq!(error, XclbinError::Name { what: "name of a section", name, most: 15 });
    }
    let mut b = builder();
    b.platform = "p".repeat(64);
    assert!(b.build().unwrap_err().to_string().contains("has 64 bytes, and the format takes 63"));
    b = builder();
    b.kernels[0].name = "k".repeat(60);
    assert!(b.build().unwrap_err().to_string().contains("name of a compute unit"));
}

#[test]
fn a_platform_without_end_is_no_text() {
    let mut bytes = file();
    bytes[352..416].fill(b'p');
    let error = Xclbin::parse(&bytes).unwrap().header().platform().unwrap_err();
    assert!(matches!(error, XclbinError::Value { within: Within::File, offset: 352, .. }), "{error}");
}
