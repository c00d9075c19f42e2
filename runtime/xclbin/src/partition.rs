//! PARTITION_METADATA: the shell that a file fits, in a flattened device tree (Devicetree Specification, chapter 5).

use crate::{SectionKind, Uuid, Within, XclbinError, cursor::Cursor, error::quoted};

const MAGIC: u32 = 0xd00d_feed;
/// The version that is written, and the oldest that readers of it can know.
const VERSION: (u32, u32) = (17, 16);
const HEADER_BYTES: usize = 40;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// What PARTITION_METADATA says of the shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionMetadata {
    /// The interfaces that the file was linked for: a card has it loaded only if its shell has one of them.
    pub interfaces: Vec<Uuid>,
    /// The shell's own UUID.
    pub logic: Option<Uuid>,
}

impl PartitionMetadata {
    /// Reads the section.
    pub fn read(data: &[u8]) -> Result<Self, XclbinError> {
        let mut c = Cursor::new(data, Within::Section(SectionKind::PARTITION_METADATA));
        let magic = word(&mut c, "the magic")?;
        if magic != MAGIC {
            return Err(c.wrong(0, "the magic", format!("{magic:#x}"), format!("{MAGIC:#x}, a device tree")));
        }
        let total = word(&mut c, "the size")? as usize;
        if total > data.len() {
            return Err(c.wrong(4, "the size", total, format!("at most {}, the section's size", data.len())));
        }
        let nodes = word(&mut c, "the offset of the nodes")? as usize;
        let strings = word(&mut c, "the offset of the names")? as usize;
        for (at, what, offset) in
            [(8, "the offset of the nodes", nodes), (12, "the offset of the names", strings)]
        {
            if offset < HEADER_BYTES || offset > total {
                return Err(c.wrong(at, what, offset, format!("{HEADER_BYTES} to {total}")));
            }
        }
        let tree = Cursor::new(&data[..total], Within::Section(SectionKind::PARTITION_METADATA));
        let (mut c, names) = (tree.from(nodes), &data[strings..total]);
        let mut read = Self::default();
        let mut depth = 0usize;
        loop {
            let at = c.at();
            match word(&mut c, "the next token")? {
                BEGIN_NODE => {
                    let rest = c.clone().take(c.left(), "the rest")?;
                    let name = zero_ended(rest).ok_or_else(|| {
                        c.wrong(at + 4, "the name of a node", "without an end", "a zero byte")
                    })?;
                    c.take(name.len() + 1, "the name of a node")?;
                    align(&mut c)?;
                    depth += 1;
                }
                END_NODE => {
                    depth = depth.checked_sub(1).ok_or_else(|| {
                        c.wrong(at, "a token", "the end of a node", "the start of one first")
                    })?;
                }
                PROPERTY => {
                    let size = word(&mut c, "the size of a property")? as usize;
                    let name_at = word(&mut c, "the name of a property")? as usize;
                    let name = names.get(name_at..).ok_or_else(|| {
                        let most = format!("at most {}, the end of the names", names.len());
                        c.wrong(at + 8, "the name of a property", name_at, most)
                    })?;
                    let value = c.take(size, "the value of a property")?;
                    read.property(name, value)
                        .map_err(|(property, found)| c.wrong(at + 12, property, found, "a UUID"))?;
                    align(&mut c)?;
                }
                NOP => {}
                END if depth == 0 => return Ok(read),
                other => {
                    let expected = if depth == 0 { "1, 3, 4 or 9" } else { "1, 2, 3 or 4" };
                    return Err(c.wrong(at, "a token", other, expected));
                }
            }
        }
    }

    /// `name` starts with the property's name and a zero byte. What is no UUID is the error, after the property.
    fn property(&mut self, name: &[u8], value: &[u8]) -> Result<(), (&'static str, String)> {
        let uuid = |property| {
            let text = String::from_utf8_lossy(zero_ended(value).unwrap_or(value));
            text.parse::<Uuid>().map_err(|_| (property, quoted(&text.chars().take(80).collect::<String>())))
        };
        if name.starts_with(b"interface_uuid\0") {
            self.interfaces.push(uuid("interface_uuid")?);
        } else if name.starts_with(b"logic_uuid\0") {
            self.logic = Some(uuid("logic_uuid")?);
        }
        Ok(())
    }

    /// The section.
    pub fn write(&self) -> Vec<u8> {
        const NAMES: &[u8] = b"interface_uuid\0logic_uuid\0";
        let (interface_uuid, logic_uuid) = (0, 15);
        let mut nodes = Nodes(Vec::new());
        nodes.begin("");
        if let Some(logic) = self.logic {
            nodes.uuid(logic_uuid, logic);
        }
        nodes.begin("interfaces");
        for (i, interface) in self.interfaces.iter().enumerate() {
            nodes.begin(&format!("@{i}"));
            nodes.uuid(interface_uuid, *interface);
            nodes.word(END_NODE);
        }
        nodes.word(END_NODE);
        nodes.word(END_NODE);
        nodes.word(END);
        let nodes = nodes.0;
        // One reserved range, the empty one that ends their list.
        let (reserved, first) = (HEADER_BYTES, HEADER_BYTES + 16);
        let strings = first + nodes.len();
        let total = strings + NAMES.len();
        let (version, oldest) = VERSION;
        let header = [
            MAGIC,
            total as u32,
            first as u32,
            strings as u32,
            reserved as u32,
            version,
            oldest,
            0,
            NAMES.len() as u32,
            nodes.len() as u32,
        ];
        let mut out: Vec<u8> = header.iter().flat_map(|w| w.to_be_bytes()).collect();
        out.extend([0; 16]);
        out.extend(nodes);
        out.extend(NAMES);
        out
    }
}

/// Nodes as they are written.
struct Nodes(Vec<u8>);

impl Nodes {
    fn word(&mut self, word: u32) {
        self.0.extend(word.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend(text.bytes());
        self.0.push(0);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn begin(&mut self, name: &str) {
        self.word(BEGIN_NODE);
        self.text(name);
    }

    fn uuid(&mut self, name: u32, uuid: Uuid) {
        let digits = uuid.digits();
        self.word(PROPERTY);
        self.word(digits.len() as u32 + 1);
        self.word(name);
        self.text(&digits);
    }
}

fn word(c: &mut Cursor<'_>, what: &str) -> Result<u32, XclbinError> {
    c.array(what).map(u32::from_be_bytes)
}

fn align(c: &mut Cursor<'_>) -> Result<(), XclbinError> {
    c.take(c.at().next_multiple_of(4) - c.at(), "the padding").map(|_| ())
}

fn zero_ended(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|b| *b == 0).map(|end| &bytes[..end])
}
