//! Bytes made to do harm: an error or a file, never a panic, and never more memory or time than the bytes are worth.

use std::time::{Duration, Instant};

use hs_xclbin::{
    Clock, Connection, Design, EmbeddedMetadata, Ip, Memory, PartitionMetadata, SectionKind, UserMetadata,
    Xclbin,
};
use proptest::{collection::vec, prelude::*};

use crate::{builder, file, put};

/// Reads bytes as everything that they could be; what is a file comes back.
fn read(bytes: &[u8]) -> bool {
    let Ok(xclbin) = Xclbin::parse(bytes) else { return false };
    assert_eq!(xclbin.to_bytes(), bytes);
    let held: usize = xclbin.sections().iter().map(|s| s.data().len()).sum();
    assert!(held <= bytes.len());
    for section in xclbin.sections() {
        sections(section.data());
    }
    let _ = (xclbin.header().platform(), xclbin.agfi(), Design::of(&xclbin));
    true
}

/// Reads bytes as every section.
fn sections(data: &[u8]) {
    let _ = Memory::read(SectionKind::MEM_TOPOLOGY, data);
    let _ = Connection::read(SectionKind::CONNECTIVITY, data);
    let _ = (Ip::read(data), Clock::read(data), EmbeddedMetadata::read(data));
    let _ = (PartitionMetadata::read(data), UserMetadata::read(data));
}

#[test]
fn each_beginning_of_a_file_is_refused() {
    let bytes = file();
    for n in 0..bytes.len() {
        assert!(Xclbin::parse(&bytes[..n]).is_err(), "{n} of {}", bytes.len());
    }
    assert!(read(&bytes));
}

#[test]
fn each_beginning_of_a_section_is_an_error_or_less() {
    for section in builder().build().unwrap().sections() {
        for n in 0..section.data().len() {
            sections(&section.data()[..n]);
        }
    }
}

#[test]
fn each_byte_may_be_wrong() {
    let good = file();
    let mut read_anyway = 0;
    for at in 0..good.len() {
        for change in [0xff, 0x80, 0x01] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            read_anyway += usize::from(read(&bytes));
        }
    }
    // Most bytes are within sections, which the container takes as they are.
    assert!(read_anyway > good.len(), "{read_anyway}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..2048)) {
        read(&bytes);
        sections(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_magic(bytes in vec(any::<u8>(), 448..2048), count in 0u32..40) {
        let mut all = b"xclbin2\0".to_vec();
        all.extend(bytes);
        let length = all.len() as u64;
        put(&mut all, 304, &length.to_le_bytes());
        put(&mut all, 448, &count.to_le_bytes());
        read(&all);
    }

    #[test]
    fn changed_numbers(changes in vec((0usize..2048, prop_oneof![any::<u64>(), 0u64..4096]), 1..4)) {
        let mut bytes = file();
        for (at, value) in changes {
            let at = at % (bytes.len() - 8);
            put(&mut bytes, at, &value.to_le_bytes());
        }
        read(&bytes);
    }

    #[test]
    fn changed_texts(at in any::<prop::sample::Index>(), text in "[<>/&;=\"' a-z0-9]{1,12}") {
        let xml = builder().build().unwrap();
        let mut data = xml.data(SectionKind::EMBEDDED_METADATA).unwrap().to_vec();
        let at = at.index(data.len() - text.len());
        put(&mut data, at, text.as_bytes());
        sections(&data);
    }

    #[test]
    fn changed_trees(at in any::<prop::sample::Index>(), word in prop_oneof![any::<u32>(), 0u32..256]) {
        let mut data = builder().build().unwrap().data(SectionKind::PARTITION_METADATA).unwrap().to_vec();
        let at = at.index(data.len() / 4) * 4;
        put(&mut data, at, &word.to_be_bytes());
        sections(&data);
    }
}

/// Sections that share bytes would take more memory than the file has.
#[test]
fn sections_that_share_bytes_are_refused() {
    let mut bytes = vec![0; 456 + 40 * 0x1_0000 + 1_000_000];
    put(&mut bytes, 0, b"xclbin2\0");
    let length = bytes.len() as u64;
    put(&mut bytes, 304, &length.to_le_bytes());
    put(&mut bytes, 448, &0x1_0000u32.to_le_bytes());
    for i in 0..0x1_0000 {
        put(&mut bytes, 456 + 40 * i + 24, &(length - 1_000_000).to_le_bytes());
        put(&mut bytes, 456 + 40 * i + 32, &1_000_000u64.to_le_bytes());
    }
    let error = Xclbin::parse(&bytes).unwrap_err().to_string();
    assert!(error.contains("the offset of section 1, BITSTREAM"), "{error}");
}

#[track_caller]
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    done
}

#[test]
fn what_would_take_quadratic_time_does_not() {
    let n = 200_000;
    let deep = format!("{}{}", "<core>".repeat(n), "</core>".repeat(n));
    assert!(soon(|| EmbeddedMetadata::read(deep.as_bytes())).is_ok());
    let attributes: String = (0..n).map(|i| format!(" a{i}=\"\"")).collect();
    let wide = format!(
        "<project><platform><device><core><kernel name=\"k\"{attributes}/></core></device></platform></project>"
    );
    assert!(soon(|| EmbeddedMetadata::read(wide.as_bytes())).is_ok());
    let laughs = "<!DOCTYPE p [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><project>&b;</project>";
    assert!(EmbeddedMetadata::read(laughs.as_bytes()).is_ok());

    // A device tree of properties that all have one long name.
    let mut tree: Vec<u8> = Vec::new();
    let nodes: Vec<u8> = [3u32, 0, 0].iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>().repeat(n);
    let total = 40 + nodes.len() + 4 + n;
    let strings = 40 + nodes.len() + 4;
    for word in [0xd00d_feed, total as u32, 40, strings as u32, 40, 17, 16, 0, 0, 0] {
        tree.extend(word.to_be_bytes());
    }
    tree.extend(nodes);
    tree.extend(9u32.to_be_bytes());
    tree.extend(vec![b'n'; n]);
    assert_eq!(soon(|| PartitionMetadata::read(&tree)), Ok(PartitionMetadata::default()));
}
