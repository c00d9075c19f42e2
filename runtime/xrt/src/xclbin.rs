//! Files with what a card is to be loaded with, checked as far as XRT's safety depends on it.
//!
//! XRT believes the sizes, offsets and counts of an xclbin, and a truncated one ends the process. What the file
//! describes is not read here, except where a lie about it would make XRT read memory that is not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"xclbin2\0";

/// Bytes before the section headers.
const HEADER: usize = 456;
const SECTION_HEADER: usize = 40;

const EMBEDDED_METADATA: u32 = 2;
const MEM_TOPOLOGY: u32 = 6;
const CONNECTIVITY: u32 = 7;
const IP_LAYOUT: u32 = 8;
const CLOCK_FREQ_TOPOLOGY: u32 = 11;
const GROUP_TOPOLOGY: u32 = 26;
const GROUP_CONNECTIVITY: u32 = 27;

/// The sections without which XRT runs no kernel.
const NEEDED: [(u32, &str); 3] =
    [(EMBEDDED_METADATA, "EMBEDDED_METADATA"), (MEM_TOPOLOGY, "MEM_TOPOLOGY"), (IP_LAYOUT, "IP_LAYOUT")];

/// An xclbin that XRT can be given.
#[derive(Debug, Clone)]
pub struct Xclbin {
    /// The file's bytes, zero-padded: XRT wants them aligned to 8.
    image: Box<[u64]>,
    banks: Vec<Bank>,
}

/// Where a memory bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bank {
    Card,
    /// Memory of the host that kernels read and write by themselves.
    Host,
}

/// Why XRT must not see an xclbin.
#[derive(Debug, thiserror::Error)]
pub enum XclbinError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("not an xclbin: it does not begin with `xclbin2`")]
    Magic,
    /// Shorter than it says.
    #[error("the xclbin is truncated: it has {found} bytes, and should have {expected}")]
    Truncated {
        /// Bytes of the file.
        found: usize,
        /// Bytes that it should have.
        expected: u64,
    },
    /// Something is not where it should be.
    #[error("the xclbin is damaged at byte {at}: {what}")]
    Damaged {
        /// Where in the file.
        at: usize,
        /// What is wrong.
        what: String,
    },
    /// A section is missing.
    #[error("the xclbin has no section {0}: XRT can run no kernel of it")]
    Missing(&'static str),
    /// An argument that XRT would read from the host's memory.
    #[error(
        "the xclbin has a kernel with the scalar argument '{0}' that is passed by its address; that is not supported"
    )]
    ScalarByAddress(String),
}

/// A section.
struct Section<'a> {
    kind: u32,
    /// Where it begins in the file.
    at: usize,
    bytes: &'a [u8],
}

impl Xclbin {
    /// Reads and checks a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, XclbinError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| XclbinError::Io { path: path.to_owned(), source })?;
        Self::new(&bytes)
    }

    /// Checks the bytes of an xclbin.
    pub fn new(bytes: &[u8]) -> Result<Self, XclbinError> {
        let sections = sections(bytes)?;
        for (kind, name) in NEEDED {
            if !sections.iter().any(|section| section.kind == kind) {
                return Err(XclbinError::Missing(name));
            }
        }
        let mut banks = Vec::new();
        let mut groups = None;
        for section in &sections {
            match section.kind {
                EMBEDDED_METADATA => check_arguments(section.bytes)?,
                MEM_TOPOLOGY => banks = banks_of(section)?,
                GROUP_TOPOLOGY => groups = Some(banks_of(section)?),
                CONNECTIVITY | GROUP_CONNECTIVITY => drop(section.records(4, 12)?),
                IP_LAYOUT => {
                    for (at, record) in section.records(8, 80)? {
                        check_text(at + 16, &record[16..], "name of a compute unit")?;
                    }
                }
                CLOCK_FREQ_TOPOLOGY => drop(section.records(2, 136)?),
                _ => {}
            }
        }
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        // XRT numbers banks by the groups where there are any.
        Ok(Self { image: bytes.chunks(8).map(word).collect(), banks: groups.unwrap_or(banks) })
    }

    pub(crate) fn image(&self) -> &[u64] {
        &self.image
    }

    pub(crate) fn banks(&self) -> &[Bank] {
        &self.banks
    }
}

fn sections(bytes: &[u8]) -> Result<Vec<Section<'_>>, XclbinError> {
    let truncated = |expected| XclbinError::Truncated { found: bytes.len(), expected };
    if !bytes.starts_with(MAGIC) {
        return Err(XclbinError::Magic);
    }
    if bytes.len() < HEADER {
        return Err(truncated(HEADER as u64));
    }
    let length = u64_at(bytes, 304);
    let Some(bytes) = usize::try_from(length).ok().and_then(|length| bytes.get(..length)) else {
        return Err(truncated(length));
    };
    check_text(352, bytes.get(352..416).unwrap_or_default(), "platform's name")?;
    let count = bytes.get(448..HEADER).map_or(0, |field| u32_at(field, 0)) as usize;
    let headers = bytes.get(HEADER..).unwrap_or_default().as_chunks::<SECTION_HEADER>().0;
    let headers = headers.get(..count).ok_or_else(|| XclbinError::Damaged {
        at: 448,
        what: format!("{count} sections, whose headers do not fit into {length} bytes"),
    })?;
    let section = |(index, header): (usize, &[u8; SECTION_HEADER])| {
        let (offset, size) = (u64_at(header, 24), u64_at(header, 32));
        let at = usize::try_from(offset).ok();
        let end = offset.checked_add(size).and_then(|end| usize::try_from(end).ok());
        match at.zip(end).and_then(|(at, end)| Some((at, bytes.get(at..end)?))) {
            Some((at, bytes)) => Ok(Section { kind: u32_at(header, 0), at, bytes }),
            None => Err(XclbinError::Damaged {
                at: HEADER + SECTION_HEADER * index,
                what: format!("section {index} has {size} bytes from byte {offset} on, of {length}"),
            }),
        }
    };
    headers.iter().enumerate().map(section).collect()
}

impl<'a> Section<'a> {
    /// The records of a table, and where they are: a count of 2 bytes if the first record is at byte 2, else of 4.
    fn records(&self, first: usize, size: usize) -> Result<Vec<(usize, &'a [u8])>, XclbinError> {
        let damaged = |what| XclbinError::Damaged { at: self.at, what };
        let short =
            || damaged(format!("section of kind {} has {} bytes, no count", self.kind, self.bytes.len()));
        let field = self.bytes.get(..first.min(4)).ok_or_else(short)?;
        let count = match *field {
            [a, b] => i32::from(i16::from_le_bytes([a, b])),
            _ => u32_at(field, 0).cast_signed(),
        };
        let records = self.bytes.get(first..).unwrap_or_default().chunks_exact(size);
        match usize::try_from(count) {
            Ok(count) if count <= records.len() => {
                Ok(records.take(count).enumerate().map(|(i, r)| (self.at + first + i * size, r)).collect())
            }
            _ => Err(damaged(format!(
                "section of kind {} counts {count} records of {size} bytes and has {}",
                self.kind,
                records.len()
            ))),
        }
    }
}

fn banks_of(section: &Section<'_>) -> Result<Vec<Bank>, XclbinError> {
    const HOST: u8 = 10;
    let bank = |(at, record): (usize, &[u8])| {
        let tag = &record[24..];
        check_text(at + 24, tag, "name of a memory bank")?;
        Ok(if record[0] == HOST || tag.starts_with(b"HOST") { Bank::Host } else { Bank::Card })
    };
    section.records(8, 40)?.into_iter().map(bank).collect()
}

fn check_text(at: usize, field: &[u8], what: &str) -> Result<(), XclbinError> {
    if field.contains(&0) {
        return Ok(());
    }
    Err(XclbinError::Damaged {
        at,
        what: format!("the {what} does not end within its {} bytes", field.len()),
    })
}

/// Refuses scalars that are given by address: XRT then takes the value that it is given for one.
fn check_arguments(xml: &[u8]) -> Result<(), XclbinError> {
    let xml = String::from_utf8_lossy(xml);
    for element in xml.split("<arg").skip(1) {
        let element = element.split('>').next().unwrap_or_default();
        // XRT knows the types `int*` and `uint*`; `*` may be spelt as a character reference.
        let by_address = attribute(element, "type").is_some_and(|ty| ty.contains(['*', '&']));
        if by_address
            && attribute(element, "addressQualifier").is_none_or(|q| !matches!(q, "1" | "2" | "3" | "4"))
        {
            return Err(XclbinError::ScalarByAddress(attribute(element, "name").unwrap_or("?").to_owned()));
        }
    }
    Ok(())
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.match_indices(name).find_map(|(at, _)| {
        let before = element[..at].chars().next_back()?;
        let value = element[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|c| before.is_whitespace() && matches!(c, '"' | '\''))?;
        value[1..].split(quote).next()
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}
