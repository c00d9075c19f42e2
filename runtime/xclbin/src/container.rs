//! The file: header, table of sections, sections, and what lies between them.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    Uuid, Within, XclbinError,
    cursor::{Cursor, field},
};

const MAGIC: [u8; 8] = *b"xclbin2\0";
/// Bytes before the table of sections.
const HEADER_BYTES: usize = 456;
/// Bytes of a line of the table.
const ENTRY_BYTES: usize = 40;
/// Sections that a file may have.
const MOST_SECTIONS: u32 = 0x1_0000;
/// Where sections start: at multiples of it.
const ALIGNMENT: usize = 8;
/// Signature length of a file without a signature.
const UNSIGNED: i32 = -1;

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SectionKind(pub u32);

macro_rules! kinds {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        impl SectionKind {
            $(#[doc = $doc] pub const $name: Self = Self($value);)*

            /// The name that the vendor's tools use; none for kinds that are not known.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    BITSTREAM = 0, "The bitstream; in an `.awsxclbin`, the name of an AWS image.";
    CLEARING_BITSTREAM = 1, "What clears the region before.";
    EMBEDDED_METADATA = 2, "Kernels, arguments and instances: XML.";
    FIRMWARE = 3, "Firmware of the card's management.";
    DEBUG_DATA = 4, "For debuggers.";
    SCHED_FIRMWARE = 5, "Firmware of the card's scheduler.";
    MEM_TOPOLOGY = 6, "Memory banks.";
    CONNECTIVITY = 7, "Which argument of which compute unit reaches which bank.";
    IP_LAYOUT = 8, "Compute units and controllers, and their addresses.";
    DEBUG_IP_LAYOUT = 9, "Monitors.";
    DESIGN_CHECK_POINT = 10, "A design checkpoint.";
    CLOCK_FREQ_TOPOLOGY = 11, "Clocks.";
    MCS = 12, "Images of the card's flash.";
    BMC = 13, "Image of the board's controller.";
    BUILD_METADATA = 14, "How it was built: JSON.";
    KEYVALUE_METADATA = 15, "Pairs of a key and a value: JSON.";
    USER_METADATA = 16, "Whatever its maker wants.";
    DNA_CERTIFICATE = 17, "A certificate.";
    PDI = 18, "A device image of Versal.";
    BITSTREAM_PARTIAL_PDI = 19, "A partial device image of Versal.";
    PARTITION_METADATA = 20, "The shell that it fits: a device tree.";
    EMULATION_DATA = 21, "For the vendor's emulation.";
    SYSTEM_METADATA = 22, "A diagram of the system: JSON.";
    SOFT_KERNEL = 23, "A kernel for the card's processor.";
    ASK_FLASH = 24, "Images of the card's flash.";
    AIE_METADATA = 25, "Of AI engines.";
    ASK_GROUP_TOPOLOGY = 26, "Memory banks and groups of them.";
    ASK_GROUP_CONNECTIVITY = 27, "Which argument of which compute unit reaches which group.";
    SMARTNIC = 28, "Of network cards.";
    AIE_RESOURCES = 29, "Of AI engines.";
    OVERLAY = 30, "An overlay.";
    VENDER_METADATA = 31, "Of the card's vendor.";
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "section of kind {}", self.0),
        }
    }
}

impl fmt::Debug for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What runs the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u16);

impl Mode {
    /// A card, the whole of it.
    pub const FLAT: Self = Self(0);
    /// A card, its dynamic region.
    pub const PR: Self = Self(1);
    /// Simulation of the RTL.
    pub const HW_EMU: Self = Self(4);
    /// Simulation of the C++.
    pub const SW_EMU: Self = Self(5);
    /// Simulation of the RTL, dynamic region.
    pub const HW_EMU_PR: Self = Self(6);
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::FLAT => "flat",
            Self::PR => "partial reconfiguration",
            Self::HW_EMU => "hw_emu",
            Self::SW_EMU => "sw_emu",
            Self::HW_EMU_PR => "hw_emu, partial reconfiguration",
            Self(other) => return write!(f, "mode {other}"),
        })
    }
}

/// Version of the tool that wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Patch.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a file says of itself, its length and the table of sections aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    signature_length: i32,
    reserved: [u8; 28],
    key_block: [u8; 256],
    unique_id: u64,
    /// When it was written, in seconds since 1970; 0: not said.
    pub time_stamp: u64,
    /// When the platform was made.
    pub feature_rom_time_stamp: u64,
    /// The tool that wrote it.
    pub version: Version,
    /// What runs it.
    pub mode: Mode,
    /// Bits that ask the driver for more than loading.
    pub action_mask: u16,
    /// The platform's UUID, or, of newer tools, its interface's.
    pub feature_rom_uuid: Uuid,
    platform: [u8; 64],
    uuid: Uuid,
    debug_file: [u8; 16],
    padding: [u8; 4],
}

impl Header {
    /// A header without signature, times and debug file. `platform` has at most 63 bytes.
    pub fn new(platform: &str, mode: Mode, version: Version) -> Result<Self, XclbinError> {
        Ok(Self {
            signature_length: UNSIGNED,
            reserved: [0xff; 28],
            key_block: [0; 256],
            unique_id: 0,
            time_stamp: 0,
            feature_rom_time_stamp: 0,
            version,
            mode,
            action_mask: 0,
            feature_rom_uuid: Uuid::default(),
            platform: field("platform", platform)?,
            uuid: Uuid::default(),
            debug_file: [0; 16],
            padding: [0; 4],
        })
    }

    /// The platform that it was linked for: vendor, board, name and version.
    pub fn platform(&self) -> Result<String, XclbinError> {
        let mut cursor = Cursor::new(&self.platform, Within::File);
        cursor.text::<64>("the platform").map_err(|e| match e {
            XclbinError::Value { within, offset, what, found, expected } => {
                XclbinError::Value { within, offset: offset + 352, what, found, expected }
            }
            other => other,
        })
    }

    /// The file's own UUID. XRT loads a file again when it differs from that of what is loaded.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Whether there is a signature.
    pub fn is_signed(&self) -> bool {
        self.signature_length != UNSIGNED
    }

    /// The bytes before the table.
    fn to_bytes(&self, length: u64, sections: u32) -> [u8; HEADER_BYTES] {
        let Version { major, minor, patch } = self.version;
        let parts: [&[u8]; 18] = [
            &MAGIC,
            &self.signature_length.to_le_bytes(),
            &self.reserved,
            &self.key_block,
            &self.unique_id.to_le_bytes(),
            &length.to_le_bytes(),
            &self.time_stamp.to_le_bytes(),
            &self.feature_rom_time_stamp.to_le_bytes(),
            &patch.to_le_bytes(),
            &[major, minor],
            &self.mode.0.to_le_bytes(),
            &self.action_mask.to_le_bytes(),
            &self.feature_rom_uuid.0,
            &self.platform,
            &self.uuid.0,
            &self.debug_file,
            &sections.to_le_bytes(),
            &self.padding,
        ];
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    kind: SectionKind,
    name: [u8; 16],
    padding: [u8; 4],
    data: Vec<u8>,
}

impl Section {
    /// A section; `name` is for people and has at most 15 bytes.
    pub fn new(kind: SectionKind, name: &str, data: Vec<u8>) -> Result<Self, XclbinError> {
        Ok(Self { kind, name: field("name of a section", name)?, padding: [0; 4], data })
    }

    /// What it holds.
    pub fn kind(&self) -> SectionKind {
        self.kind
    }

    /// Its name, up to the first zero byte.
    pub fn name(&self) -> Cow<'_, str> {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end])
    }

    /// Its bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

/// Where sections lie, and the bytes that belong to none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    /// Offset of each section.
    offsets: Vec<u64>,
    /// Offset and bytes of what is neither header nor table nor section, where it is not zero.
    between: Vec<(usize, Vec<u8>)>,
    /// Length that the header says: at most `total`.
    length: u64,
    /// Bytes of the file.
    total: usize,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xclbin {
    header: Header,
    sections: Vec<Section>,
    layout: Layout,
}

impl Xclbin {
    /// A file of these sections, in this order: unsigned, and with a UUID that is a digest of header and sections.
    pub fn new(header: Header, sections: Vec<Section>) -> Self {
        let mut header = Header { signature_length: UNSIGNED, key_block: [0; 256], ..header };
        header.uuid = Uuid::default();
        let mut sha = Sha256::new();
        sha.update(header.to_bytes(0, sections.len() as u32));
        for section in &sections {
            sha.update(section.kind.0.to_le_bytes());
            sha.update((section.data.len() as u64).to_le_bytes());
            sha.update(&section.data);
        }
        header.uuid = Uuid::of_digest(sha.finalize().into());
        let mut total = HEADER_BYTES + ENTRY_BYTES * sections.len();
        let place = |section: &Section| {
            let offset = total.next_multiple_of(ALIGNMENT);
            total = offset + section.data.len();
            offset as u64
        };
        let offsets = sections.iter().map(place).collect();
        let layout = Layout { offsets, between: Vec::new(), length: total as u64, total };
        Self { header, sections, layout }
    }

    /// Reads a file. What follows the length that the header says is kept too.
    pub fn parse(bytes: &[u8]) -> Result<Self, XclbinError> {
        let mut c = Cursor::new(bytes, Within::File);
        let magic: [u8; 8] = c.array("the magic")?;
        if magic != MAGIC {
            let found = format!("\"{}\"", magic.escape_ascii());
            return Err(c.wrong(0, "the magic", found, "\"xclbin2\\0\": this is no xclbin"));
        }
        let signature_length = i32::from_le_bytes(c.array("the signature's length")?);
        let (reserved, key_block) = (c.array("the reserved bytes")?, c.array("the key block")?);
        let unique_id = c.u64("the unique id")?;
        let at = c.at();
        let length = c.u64("the file's length")?;
        let (time_stamp, feature_rom_time_stamp) = (c.u64("the time")?, c.u64("the platform's time")?);
        let patch = c.u16("the version")?;
        let version = Version { major: c.u8("the version")?, minor: c.u8("the version")?, patch };
        let (mode, action_mask) = (Mode(c.u16("the mode")?), c.u16("the action mask")?);
        let feature_rom_uuid = Uuid(c.array("the platform's UUID")?);
        let platform = c.array("the platform")?;
        let uuid = Uuid(c.array("the UUID")?);
        let debug_file = c.array("the debug file")?;
        let count_at = c.at();
        let count = c.u32("the number of sections")?;
        let padding = c.array("the padding")?;
        if count > MOST_SECTIONS {
            return Err(c.wrong(
                count_at,
                "the number of sections",
                count,
                format!("at most {MOST_SECTIONS}"),
            ));
        }
        c.expect(u64::from(count), ENTRY_BYTES as u64, "the table of sections")?;
        let table_end = c.at() + ENTRY_BYTES * count as usize;
        if length > bytes.len() as u64 {
            let expected =
                format!("at most {}, the size of the file: it is cut off; get it again", bytes.len());
            return Err(c.wrong(at, "the file's length", length, expected));
        }
        if length < table_end as u64 {
            let expected = format!("at least {table_end}, the end of the table of sections");
            return Err(c.wrong(at, "the file's length", length, expected));
        }
        let mut entries = Vec::with_capacity(count as usize);
        for i in 0..count {
            entries.push(Entry::read(&mut c, i, table_end, length)?);
        }
        let between = between(bytes, table_end, &entries)?;
        let offsets = entries.iter().map(|e| e.offset).collect();
        let sections = entries.into_iter().map(|e| e.section(bytes)).collect();
        let header = Header {
            signature_length,
            reserved,
            key_block,
            unique_id,
            time_stamp,
            feature_rom_time_stamp,
            version,
            mode,
            action_mask,
            feature_rom_uuid,
            platform,
            uuid,
            debug_file,
            padding,
        };
        let layout = Layout { offsets, between, length, total: bytes.len() };
        Ok(Self { header, sections, layout })
    }

    /// The file. Of what was parsed: the very bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Layout { offsets, between, length, total } = &self.layout;
        let mut bytes = vec![0; *total];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &self.header.to_bytes(*length, self.sections.len() as u32));
        for (i, (section, offset)) in self.sections.iter().zip(offsets).enumerate() {
            let parts: [&[u8]; 5] = [
                &section.kind.0.to_le_bytes(),
                &section.name,
                &section.padding,
                &offset.to_le_bytes(),
                &(section.data.len() as u64).to_le_bytes(),
            ];
            put(HEADER_BYTES + ENTRY_BYTES * i, &parts.concat());
            if !section.data.is_empty() {
                put(*offset as usize, &section.data);
            }
        }
        for (at, part) in between {
            put(*at, part);
        }
        bytes
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its sections, in the order of the table.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Header and sections, to make another file of them.
    pub fn into_parts(self) -> (Header, Vec<Section>) {
        (self.header, self.sections)
    }

    /// Offset in the file of the section with this index.
    pub fn offset(&self, index: usize) -> Option<u64> {
        self.layout.offsets.get(index).copied()
    }

    /// Bytes of the first section of a kind: the one that XRT uses.
    pub fn data(&self, kind: SectionKind) -> Option<&[u8]> {
        self.sections.iter().find(|s| s.kind == kind).map(Section::data)
    }

    /// The AWS image that stands for the bitstream, in an `.awsxclbin`.
    pub fn agfi(&self) -> Option<Agfi> {
        std::str::from_utf8(self.data(SectionKind::BITSTREAM)?).ok()?.parse().ok()
    }
}

/// A line of the table.
struct Entry {
    kind: SectionKind,
    name: [u8; 16],
    padding: [u8; 4],
    offset: u64,
    size: u64,
    index: u32,
}

impl Entry {
    /// Reads a line; a section with bytes lies between the table and the file's length.
    fn read(c: &mut Cursor<'_>, index: u32, table_end: usize, length: u64) -> Result<Self, XclbinError> {
        let of = |what: &str| format!("the {what} of section {index}");
        let kind = SectionKind(c.u32(of("kind"))?);
        let (name, padding) = (c.array(of("name"))?, c.array(of("padding"))?);
        let at = c.at();
        let (offset, size) = (c.u64(of("offset"))?, c.u64(of("size"))?);
        if size > 0 {
            if offset < table_end as u64 {
                let expected = format!("at least {table_end}, the end of the table of sections");
                return Err(c.wrong(at, of("offset"), offset, expected));
            }
            let end = offset.checked_add(size);
            if end.is_none_or(|end| end > length) {
                let found = format!("{offset} + {size}");
                let what = format!("the end of section {index}, {kind},");
                return Err(c.wrong(at, what, found, format!("at most {length}, the file's length")));
            }
        }
        Ok(Self { kind, name, padding, offset, size, index })
    }

    /// Of an entry whose range was checked.
    fn section(self, bytes: &[u8]) -> Section {
        let Self { kind, name, padding, offset, size, .. } = self;
        let data =
            if size == 0 { Vec::new() } else { bytes[offset as usize..(offset + size) as usize].to_vec() };
        Section { kind, name, padding, data }
    }
}

/// What lies between the end of the table and the end of the file and in no section, zeros aside. Sections do not overlap:
/// together they are no longer than the file.
fn between(bytes: &[u8], table_end: usize, entries: &[Entry]) -> Result<Vec<(usize, Vec<u8>)>, XclbinError> {
    let mut order: Vec<&Entry> = entries.iter().filter(|e| e.size > 0).collect();
    order.sort_by_key(|e| e.offset);
    let mut found = Vec::new();
    let mut keep = |from: usize, to: usize| {
        if bytes[from..to].iter().any(|b| *b != 0) {
            found.push((from, bytes[from..to].to_vec()));
        }
    };
    let mut before: Option<&Entry> = None;
    for entry in order {
        let end = before.map_or(table_end as u64, |b| b.offset + b.size);
        if let Some(b) = before
            && entry.offset < end
        {
            return Err(XclbinError::Value {
                within: Within::File,
                offset: (HEADER_BYTES + ENTRY_BYTES * entry.index as usize + 24) as u64,
                what: format!("the offset of section {}, {},", entry.index, entry.kind),
                found: entry.offset.to_string(),
                expected: format!("at least {end}, the end of section {}, {}", b.index, b.kind),
            });
        }
        keep(end as usize, entry.offset as usize);
        before = Some(entry);
    }
    keep(before.map_or(table_end, |b| (b.offset + b.size) as usize), bytes.len());
    Ok(found)
}

/// Global name of an AWS FPGA image: `agfi-` and 17 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Agfi(String);

/// Text that is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not agfi- and 17 lower-case hexadecimal digits", .0.escape_debug())]
pub struct ParseAgfiError(String);

impl FromStr for Agfi {
    type Err = ParseAgfiError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let digits = s.strip_prefix("agfi-").unwrap_or_default();
        if digits.len() == 17 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(s.to_owned()))
        } else {
            Err(ParseAgfiError(s.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Agfi {
    type Error = ParseAgfiError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Agfi> for String {
    fn from(name: Agfi) -> Self {
        name.0
    }
}

impl fmt::Display for Agfi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
