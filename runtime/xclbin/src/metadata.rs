//! EMBEDDED_METADATA: what the kernels are, in XML.

use std::fmt::{self, Write as _};

use quick_xml::{
    Reader, XmlVersion,
    escape::escape,
    events::{BytesStart, Event},
};

use crate::{SectionKind, Within, XclbinError, cursor::Cursor, error::quoted};

/// What EMBEDDED_METADATA says, as far as XRT reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbeddedMetadata {
    /// Kernels, in order.
    pub kernels: Vec<KernelMetadata>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelMetadata {
    /// Its function.
    pub name: String,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Its arguments, in the order of the file.
    pub arguments: Vec<crate::Argument>,
    /// Its compute units.
    pub instances: Vec<Instance>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Direction.
    pub mode: PortMode,
    /// Bytes that it can address.
    pub range: u64,
    /// Bits.
    pub data_width: u64,
}

/// Direction of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortMode {
    /// Registers that the host writes.
    Slave,
    /// Memory that the kernel reads and writes.
    Master,
    /// A stream.
    Other,
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A value.
    Scalar,
    /// An address in memory.
    Pointer,
    /// A stream.
    Stream,
    /// Something else, by its qualifier.
    Other(u64),
}

impl Role {
    fn of(qualifier: u64) -> Self {
        match qualifier {
            0 => Self::Scalar,
            1 => Self::Pointer,
            4 => Self::Stream,
            other => Self::Other(other),
        }
    }

    fn qualifier(self) -> u64 {
        match self {
            Self::Scalar => 0,
            Self::Pointer => 1,
            Self::Stream => 4,
            Self::Other(other) => other,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Pointer => "pointer",
            Self::Stream => "stream",
            Self::Other(qualifier) => return write!(f, "argument of kind {qualifier}"),
        })
    }
}

/// A compute unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name.
    pub name: String,
    /// Address of its registers.
    pub base: Option<u64>,
}

/// Where kernels are.
const CORE: [&str; 4] = ["project", "platform", "device", "core"];

impl EmbeddedMetadata {
    /// Reads the section.
    pub fn read(data: &[u8]) -> Result<Self, XclbinError> {
        let place = Cursor::new(data, Within::Section(SectionKind::EMBEDDED_METADATA));
        // Some tools count the zero byte that ends the text.
        let end = data.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let text = std::str::from_utf8(&data[..end])
            .map_err(|e| place.wrong(e.valid_up_to(), "the text", "no UTF-8", "XML in UTF-8"))?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<String> = Vec::new();
        let mut read = Self::default();
        loop {
            let at = reader.buffer_position() as usize;
            let event = reader.read_event().map_err(|e| {
                place.wrong(reader.error_position() as usize, "the XML", e, "well-formed XML")
            })?;
            match event {
                Event::Start(tag) => {
                    read.element(&open, &Attributes { tag: &tag, at, place: &place })?;
                    open.push(tag.name().as_ref().to_owned());
                }
                Event::Empty(tag) => read.element(&open, &Attributes { tag: &tag, at, place: &place })?,
                Event::End(_) => {
                    open.pop();
                }
                Event::Eof => break,
                Event::Text(_)
                | Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::GeneralRef(_) => {}
            }
        }
        match open.last() {
            Some(tag) => Err(place.wrong(
                end,
                "the XML",
                format!("without an end of {}", quoted(tag)),
                "well-formed XML",
            )),
            None => Ok(read),
        }
    }

    fn element(&mut self, open: &[String], tag: &Attributes<'_>) -> Result<(), XclbinError> {
        let Some(inside) = open.get(CORE.len()..).filter(|_| open.iter().zip(CORE).all(|(o, c)| o == c))
        else {
            return Ok(());
        };
        let name = tag.tag.name();
        if inside.is_empty() && name.as_ref() == "kernel" {
            self.kernels.push(KernelMetadata { name: tag.text("name")?, ..KernelMetadata::default() });
            return Ok(());
        }
        let Some(kernel) = self.kernels.last_mut().filter(|_| inside.first().is_some_and(|i| i == "kernel"))
        else {
            return Ok(());
        };
        match (inside.len(), name.as_ref()) {
            (1, "port") => kernel.ports.push(Port {
                name: tag.text("name")?,
                mode: match tag.text("mode")?.as_str() {
                    "slave" => PortMode::Slave,
                    "master" => PortMode::Master,
                    _ => PortMode::Other,
                },
                range: tag.number("range")?.unwrap_or(0),
                data_width: tag.number("dataWidth")?.unwrap_or(0),
            }),
            (1, "arg") => kernel.arguments.push(crate::Argument {
                name: tag.text("name")?,
                id: tag.number("id")?,
                role: Role::of(tag.number("addressQualifier")?.unwrap_or(0)),
                port: tag.optional("port")?.unwrap_or_default(),
                offset: tag.number("offset")?.unwrap_or(0),
                size: tag.number("size")?.unwrap_or(0),
                host_size: tag.number("hostSize")?.unwrap_or(0),
                ctype: tag.optional("type")?.unwrap_or_default(),
            }),
            (1, "instance") => kernel.instances.push(Instance { name: tag.text("name")?, base: None }),
            (2, "addrRemap") if inside[1] == "instance" => {
                if let Some(instance) = kernel.instances.last_mut() {
                    instance.base = tag.number("base")?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The section. `platform` is VENDOR_BOARD_NAME and more, `target` what XRT calls the kind of build.
    pub(crate) fn write(&self, platform: &str, target: &str, protocol: &str) -> Vec<u8> {
        let mut x = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let mut parts = platform.splitn(4, ['_', ':']).chain(std::iter::repeat("")).map(escape);
        let mut part = || parts.next().unwrap_or_default();
        let (vendor, board, name) = (part(), part(), part());
        // Writing to a String cannot fail.
        let _ = write!(
            x,
            "<project name=\"hypersonic\">\n\
             <platform vendor=\"{vendor}\" boardid=\"{board}\" name=\"{name}\">\n\
             <version major=\"1\" minor=\"0\"/>\n\
             <device name=\"fpga0\" fpgaDevice=\"\" addrWidth=\"0\">\n\
             <core name=\"OCL_REGION_0\" target=\"{target}\" type=\"clc_region\" clockFreq=\"0MHz\">\n"
        );
        for kernel in &self.kernels {
            let name = escape(kernel.name.as_str());
            let _ = writeln!(
                x,
                "<kernel name=\"{name}\" language=\"c\" vlnv=\"hypersonic:kernel:{name}:1.0\" \
                 preferredWorkGroupSizeMultiple=\"0\" workGroupSize=\"1\" interrupt=\"true\" \
                 hwControlProtocol=\"{protocol}\">"
            );
            for Port { name, mode, range, data_width } in &kernel.ports {
                let (name, mode) = (
                    escape(name.as_str()),
                    match mode {
                        PortMode::Slave => "slave",
                        PortMode::Master => "master",
                        PortMode::Other => "read_write",
                    },
                );
                let _ = writeln!(
                    x,
                    "<port name=\"{name}\" mode=\"{mode}\" range=\"{range:#X}\" dataWidth=\"{data_width}\" \
                     portType=\"addressable\" base=\"0x0\"/>"
                );
            }
            for a in &kernel.arguments {
                let (name, port) = (escape(a.name.as_str()), escape(a.port.as_str()));
                let (ctype, id) = (escape(a.ctype.as_str()), a.id.map(|id| id.to_string()));
                let (qualifier, id) = (a.role.qualifier(), id.unwrap_or_default());
                let _ = writeln!(
                    x,
                    "<arg name=\"{name}\" addressQualifier=\"{qualifier}\" id=\"{id}\" port=\"{port}\" \
                     size=\"{:#x}\" offset=\"{:#x}\" hostOffset=\"0x0\" hostSize=\"{:#x}\" type=\"{ctype}\"/>",
                    a.size, a.offset, a.host_size
                );
            }
            x.push_str("<compileWorkGroupSize x=\"1\" y=\"1\" z=\"1\"/>\n<maxWorkGroupSize x=\"1\" y=\"1\" z=\"1\"/>\n");
            for instance in &kernel.instances {
                let _ = write!(x, "<instance name=\"{}\">", escape(instance.name.as_str()));
                if let Some(base) = instance.base {
                    let _ = write!(x, "<addrRemap base=\"{base:#x}\" port=\"S_AXI_CONTROL\"/>");
                }
                x.push_str("</instance>\n");
            }
            x.push_str("</kernel>\n");
        }
        x.push_str("</core>\n</device>\n</platform>\n</project>\n");
        x.into_bytes()
    }
}

/// An element's attributes and where it is.
struct Attributes<'a> {
    tag: &'a BytesStart<'a>,
    at: usize,
    place: &'a Cursor<'a>,
}

impl Attributes<'_> {
    fn what(&self, name: &str) -> String {
        format!("the attribute {} of <{}>", quoted(name), self.tag.name().as_ref().escape_debug())
    }

    fn optional(&self, name: &str) -> Result<Option<String>, XclbinError> {
        let wrong = |e: &dyn fmt::Display| self.place.wrong(self.at, self.what(name), e, "well-formed XML");
        let attribute = self.tag.try_get_attribute(name).map_err(|e| wrong(&e))?;
        let value = attribute.map(|a| a.normalized_value(XmlVersion::Implicit1_0)).transpose();
        Ok(value.map_err(|e| wrong(&e))?.map(String::from))
    }

    fn text(&self, name: &str) -> Result<String, XclbinError> {
        let missing = || self.place.wrong(self.at, self.what(name), "not there", "a text");
        self.optional(name)?.ok_or_else(missing)
    }

    /// Decimal, or hexadecimal after `0x`; an empty text is none.
    fn number(&self, name: &str) -> Result<Option<u64>, XclbinError> {
        let Some(text) = self.optional(name)?.filter(|t| !t.is_empty()) else { return Ok(None) };
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let wrong =
            |_| self.place.wrong(self.at, self.what(name), quoted(&text), "a number of at most 64 bits");
        number.map(Some).map_err(wrong)
    }
}
