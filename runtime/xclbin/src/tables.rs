//! The sections that are tables: memories, connections, IPs, clocks.

use std::fmt;

use crate::{
    SectionKind, Within, XclbinError,
    cursor::{Cursor, field},
};

/// What a memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryKind(pub u8);

impl MemoryKind {
    /// DDR4.
    pub const DDR4: Self = Self(1);
    /// No memory: a stream.
    pub const STREAMING: Self = Self(3);
    /// HBM.
    pub const HBM: Self = Self(6);
    /// The host's.
    pub const HOST: Self = Self(10);
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "DDR3",
            1 => "DDR4",
            2 => "DRAM",
            3 => "stream",
            4 => "preallocated",
            5 => "Aurora",
            6 => "HBM",
            7 => "BRAM",
            8 => "URAM",
            9 => "stream connection",
            10 => "host",
            11 => "PS kernel",
            other => return write!(f, "memory of kind {other}"),
        })
    }
}

/// A bank of MEM_TOPOLOGY, or a group of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What it is.
    pub kind: MemoryKind,
    /// Whether a compute unit is connected to it.
    pub used: bool,
    /// Size in KiB; of a stream, its route.
    pub size_kib: u64,
    /// First address; of a stream, its flow.
    pub base: u64,
    /// Name, at most 15 bytes.
    pub tag: String,
}

/// A line of CONNECTIVITY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Id of a kernel's argument.
    pub argument: u32,
    /// Index into IP_LAYOUT.
    pub ip: u32,
    /// Index into MEM_TOPOLOGY.
    pub memory: u32,
}

/// What an IP is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpKind(pub u32);

impl IpKind {
    /// A compute unit.
    pub const KERNEL: Self = Self(1);
}

/// How a compute unit is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One start at a time: `ap_ctrl_hs`.
    Hs,
    /// Starts may overlap: `ap_ctrl_chain`.
    Chain,
    /// Never: it runs of itself.
    None,
    /// Of the vendor.
    Other(u8),
}

impl Protocol {
    fn code(self) -> u8 {
        match self {
            Self::Hs => 0,
            Self::Chain => 1,
            Self::None => 2,
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hs => "ap_ctrl_hs",
            Self::Chain => "ap_ctrl_chain",
            Self::None => "ap_ctrl_none",
            Self::Other(code) => return write!(f, "protocol {code}"),
        })
    }
}

/// A line of IP_LAYOUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// What it is.
    pub kind: IpKind,
    /// Of a compute unit: interrupt and protocol.
    pub properties: u32,
    /// Address of its registers; all ones: it has none.
    pub base: u64,
    /// Of a compute unit `KERNEL:UNIT`; at most 63 bytes.
    pub name: String,
}

impl Ip {
    /// A compute unit; `interrupt` has seven bits.
    pub fn kernel(name: String, base: u64, interrupt: u8, protocol: Protocol) -> Self {
        let properties = 1 | u32::from(interrupt & 0x7f) << 1 | u32::from(protocol.code()) << 8;
        Self { kind: IpKind::KERNEL, properties, base, name }
    }

    /// Number of its interrupt, where it can interrupt.
    pub fn interrupt(&self) -> Option<u8> {
        (self.properties & 1 == 1).then_some((self.properties >> 1 & 0x7f) as u8)
    }

    /// How it is started.
    pub fn protocol(&self) -> Protocol {
        match (self.properties >> 8 & 0xff) as u8 {
            0 => Protocol::Hs,
            1 => Protocol::Chain,
            2 => Protocol::None,
            other => Protocol::Other(other),
        }
    }
}

/// What a clock drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockKind(pub u8);

impl ClockKind {
    /// Kernels.
    pub const DATA: Self = Self(1);
    /// The second clock of kernels that have two.
    pub const KERNEL: Self = Self(2);
    /// The shell.
    pub const SYSTEM: Self = Self(3);
}

impl fmt::Display for ClockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "unused",
            1 => "data",
            2 => "kernel",
            3 => "system",
            other => return write!(f, "clock of kind {other}"),
        })
    }
}

/// A line of CLOCK_FREQ_TOPOLOGY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Frequency in MHz.
    pub mhz: u16,
    /// What it drives.
    pub kind: ClockKind,
    /// Name, at most 127 bytes.
    pub name: String,
}

/// Lines of a table: `count` of `size` bytes are there before memory is taken for them.
fn lines<'a, T>(
    c: &mut Cursor<'a>,
    count: u32,
    size: u64,
    what: &str,
    read: impl Fn(&mut Cursor<'a>, &str) -> Result<T, XclbinError>,
) -> Result<Vec<T>, XclbinError> {
    c.expect(u64::from(count), size, format_args!("the table of {count} {what}s"))?;
    (0..count).map(|i| read(c, &format!("of {what} {i}"))).collect()
}

impl Memory {
    const BYTES: u64 = 40;

    /// Reads MEM_TOPOLOGY or ASK_GROUP_TOPOLOGY.
    pub fn read(kind: SectionKind, data: &[u8]) -> Result<Vec<Self>, XclbinError> {
        let mut c = Cursor::new(data, Within::Section(kind));
        let count = c.index("the number of memories")?;
        if count > 0 {
            c.take(4, "the padding")?;
        }
        lines(&mut c, count, Self::BYTES, "memory", |c, of| {
            let kind = MemoryKind(c.u8(format_args!("the kind {of}"))?);
            let used = c.u8(format_args!("the use {of}"))? != 0;
            c.take(6, format_args!("the padding {of}"))?;
            let size_kib = c.u64(format_args!("the size {of}"))?;
            let base = c.u64(format_args!("the address {of}"))?;
            Ok(Self { kind, used, size_kib, base, tag: c.text::<16>(format_args!("the tag {of}"))? })
        })
    }

    /// The section of these memories.
    pub fn write(all: &[Self]) -> Result<Vec<u8>, XclbinError> {
        let mut out = (all.len() as u64).to_le_bytes().to_vec();
        for m in all {
            out.extend([m.kind.0, u8::from(m.used), 0, 0, 0, 0, 0, 0]);
            out.extend(m.size_kib.to_le_bytes());
            out.extend(m.base.to_le_bytes());
            out.extend(field::<16>("tag of a memory", &m.tag)?);
        }
        Ok(out)
    }
}

impl Connection {
    const BYTES: u64 = 12;

    /// Reads CONNECTIVITY or ASK_GROUP_CONNECTIVITY.
    pub fn read(kind: SectionKind, data: &[u8]) -> Result<Vec<Self>, XclbinError> {
        let mut c = Cursor::new(data, Within::Section(kind));
        let count = c.index("the number of connections")?;
        lines(&mut c, count, Self::BYTES, "connection", |c, of| {
            Ok(Self {
                argument: c.index(format_args!("the argument {of}"))?,
                ip: c.index(format_args!("the IP {of}"))?,
                memory: c.index(format_args!("the memory {of}"))?,
            })
        })
    }

    /// The section of these connections.
    pub fn write(all: &[Self]) -> Vec<u8> {
        let mut out = (all.len() as u32).to_le_bytes().to_vec();
        for c in all {
            out.extend([c.argument, c.ip, c.memory].iter().flat_map(|n| n.to_le_bytes()));
        }
        out
    }
}

impl Ip {
    const BYTES: u64 = 80;

    /// Reads IP_LAYOUT.
    pub fn read(data: &[u8]) -> Result<Vec<Self>, XclbinError> {
        let mut c = Cursor::new(data, Within::Section(SectionKind::IP_LAYOUT));
        let count = c.index("the number of IPs")?;
        if count > 0 {
            c.take(4, "the padding")?;
        }
        lines(&mut c, count, Self::BYTES, "IP", |c, of| {
            Ok(Self {
                kind: IpKind(c.u32(format_args!("the kind {of}"))?),
                properties: c.u32(format_args!("the properties {of}"))?,
                base: c.u64(format_args!("the address {of}"))?,
                name: c.text::<64>(format_args!("the name {of}"))?,
            })
        })
    }

    /// The section of these IPs, which are sorted by address.
    pub fn write(all: &[Self]) -> Result<Vec<u8>, XclbinError> {
        let mut out = (all.len() as u64).to_le_bytes().to_vec();
        for ip in all {
            out.extend(ip.kind.0.to_le_bytes());
            out.extend(ip.properties.to_le_bytes());
            out.extend(ip.base.to_le_bytes());
            out.extend(field::<64>("name of a compute unit", &ip.name)?);
        }
        Ok(out)
    }
}

impl Clock {
    const BYTES: u64 = 136;

    /// Reads CLOCK_FREQ_TOPOLOGY.
    pub fn read(data: &[u8]) -> Result<Vec<Self>, XclbinError> {
        let mut c = Cursor::new(data, Within::Section(SectionKind::CLOCK_FREQ_TOPOLOGY));
        let count = c.u16("the number of clocks")?;
        if count > i16::MAX as u16 {
            return Err(c.wrong(
                0,
                "the number of clocks",
                count.cast_signed(),
                "a number that is not negative",
            ));
        }
        lines(&mut c, u32::from(count), Self::BYTES, "clock", |c, of| {
            let mhz = c.u16(format_args!("the frequency {of}"))?;
            let kind = ClockKind(c.u8(format_args!("the kind {of}"))?);
            c.take(5, format_args!("the padding {of}"))?;
            Ok(Self { mhz, kind, name: c.text::<128>(format_args!("the name {of}"))? })
        })
    }

    /// The section of these clocks.
    pub fn write(all: &[Self]) -> Result<Vec<u8>, XclbinError> {
        let mut out = (all.len() as u16).to_le_bytes().to_vec();
        for clock in all {
            out.extend(clock.mhz.to_le_bytes());
            out.extend([clock.kind.0, 0, 0, 0, 0, 0]);
            out.extend(field::<128>("name of a clock", &clock.name)?);
        }
        Ok(out)
    }
}
