//! A whole file, understood: what its sections say together.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Clock, Connection, EmbeddedMetadata, Ip, IpKind, KernelMetadata, Memory, PartitionMetadata, Protocol,
    Role, SectionKind, UserMetadata, Uuid, Xclbin, XclbinError, error::quoted,
};

/// First offset of an argument: below are the control registers.
pub(crate) const FIRST_ARGUMENT: u64 = 0x10;

/// A file that can be loaded: every section that XRT reads was read, and they agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    /// The platform that it was linked for.
    pub platform: String,
    /// Kernels, in the order of the metadata.
    pub kernels: Vec<Kernel>,
    /// Memory banks; [`ComputeUnit::banks`] points into them.
    pub memories: Vec<Memory>,
    /// Banks and groups of them, where the file groups them.
    pub groups: Vec<Memory>,
    /// Clocks.
    pub clocks: Vec<Clock>,
    /// The shell's interfaces that it fits; empty: it fits every one, as an `.awsxclbin` does.
    pub interfaces: Vec<Uuid>,
    /// The package that it was built from, where it says so.
    pub user: Option<UserMetadata>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its function.
    pub name: String,
    /// Its arguments, by id: the argument with id i is the i-th.
    pub arguments: Vec<Argument>,
    /// Its compute units, in the order in which XRT numbers them.
    pub compute_units: Vec<ComputeUnit>,
}

/// An argument of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name in the C++.
    pub name: String,
    /// The number that XRT calls it by; none for what the host does not set.
    pub id: Option<u64>,
    /// What it is.
    pub role: Role,
    /// Port that it is passed or read through.
    pub port: String,
    /// Offset of its register from the compute unit's address, in bytes.
    pub offset: u64,
    /// Bytes of its register.
    pub size: u64,
    /// Bytes of the host's value.
    pub host_size: u64,
    /// Its C type.
    pub ctype: String,
}

/// A compute unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeUnit {
    /// Its name, without the kernel's.
    pub name: String,
    /// Address of its registers; none where it has no registers.
    pub base: Option<u64>,
    /// Number of its interrupt, where it has one.
    pub interrupt: Option<u8>,
    /// How it is started.
    pub protocol: Protocol,
    /// Pairs of an argument's id and the index of a memory that it reaches, ascending. Not a list an argument: a file
    /// with many of both would take more memory than it has bytes.
    pub banks: Vec<(usize, usize)>,
}

impl ComputeUnit {
    /// Indices of the memories that the argument with an id reaches, ascending.
    pub fn banks_of(&self, argument: usize) -> impl Iterator<Item = usize> {
        self.banks.iter().filter(move |(a, _)| *a == argument).map(|(_, bank)| *bank)
    }
}

impl Kernel {
    /// The argument with a name.
    pub fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|a| a.name == name)
    }
}

impl Design {
    /// Reads and checks the sections.
    pub fn of(xclbin: &Xclbin) -> Result<Self, XclbinError> {
        let need = |kind| xclbin.data(kind).ok_or(XclbinError::Missing(kind));
        if need(SectionKind::BITSTREAM)?.is_empty() {
            return Err(XclbinError::Missing(SectionKind::BITSTREAM));
        }
        let metadata = EmbeddedMetadata::read(need(SectionKind::EMBEDDED_METADATA)?)?;
        let ips = Ip::read(need(SectionKind::IP_LAYOUT)?)?;
        let memories = Memory::read(SectionKind::MEM_TOPOLOGY, need(SectionKind::MEM_TOPOLOGY)?)?;
        let table = |kind| xclbin.data(kind).map_or(Ok(Vec::new()), |data| Connection::read(kind, data));
        let connections = table(SectionKind::CONNECTIVITY)?;
        let group_kind = SectionKind::ASK_GROUP_TOPOLOGY;
        let groups = xclbin.data(group_kind).map_or(Ok(Vec::new()), |data| Memory::read(group_kind, data))?;
        let grouped = table(SectionKind::ASK_GROUP_CONNECTIVITY)?;
        let clocks = xclbin.data(SectionKind::CLOCK_FREQ_TOPOLOGY).map_or(Ok(Vec::new()), Clock::read)?;
        let partition =
            xclbin.data(SectionKind::PARTITION_METADATA).map(PartitionMetadata::read).transpose()?;
        let user = xclbin.data(SectionKind::USER_METADATA).map_or(Ok(None), UserMetadata::read)?;

        let kernels: Vec<Kernel> = metadata.kernels.iter().map(kernel).collect::<Result<_, _>>()?;
        if let Some(twice) = duplicate(kernels.iter().map(|k| k.name.as_str())) {
            return Err(XclbinError::design(
                "the kernels",
                format!("{} twice", quoted(twice)),
                "one of a name",
            ));
        }
        let mut design = Self {
            platform: xclbin.header().platform()?,
            kernels,
            memories,
            groups,
            clocks,
            interfaces: partition.unwrap_or_default().interfaces,
            user,
        };
        let units = design.place(&metadata, &ips)?;
        for c in connections {
            let section = SectionKind::CONNECTIVITY;
            let Some((kernel, unit)) = design.connected(section, c, &units, design.memories.len())? else {
                continue;
            };
            if !design.memories[c.memory as usize].used {
                let subject = format!("{section}: {c:?}");
                return Err(XclbinError::design(subject, "a memory that is not used", "one that is"));
            }
            let pair = (c.argument as usize, c.memory as usize);
            design.kernels[kernel].compute_units[unit].banks.push(pair);
        }
        for c in grouped {
            design.connected(SectionKind::ASK_GROUP_CONNECTIVITY, c, &units, design.groups.len())?;
        }
        for kernel in &mut design.kernels {
            for unit in &mut kernel.compute_units {
                unit.banks.sort_unstable();
                unit.banks.dedup();
            }
            // XRT's order: by interrupt, and by address where no unit has one.
            kernel.compute_units.sort_by_key(|u| (u.interrupt.unwrap_or(0), u.base));
        }
        Ok(design)
    }

    /// The kernel with a name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }

    /// Puts compute units under their kernels; by index into `ips`: kernel and place among its units.
    fn place(
        &mut self,
        metadata: &EmbeddedMetadata,
        ips: &[Ip],
    ) -> Result<Vec<Option<(usize, usize)>>, XclbinError> {
        let kernels: BTreeMap<String, usize> =
            self.kernels.iter().enumerate().map(|(i, k)| (k.name.clone(), i)).collect();
        let mut bases: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        let mut units = Vec::with_capacity(ips.len());
        for ip in ips {
            if ip.kind != IpKind::KERNEL {
                units.push(None);
                continue;
            }
            let subject = || format!("{}: {}", SectionKind::IP_LAYOUT, quoted(&ip.name));
            let Some((kernel, unit)) = ip.name.split_once(':') else {
                return Err(XclbinError::design(subject(), "a compute unit of this name", "KERNEL:UNIT"));
            };
            let Some(index) = kernels.get(kernel) else {
                let found = format!("the kernel {}", quoted(kernel));
                return Err(XclbinError::design(subject(), found, "a kernel of EMBEDDED_METADATA"));
            };
            let base = (ip.base != u64::MAX).then_some(ip.base);
            if bases.insert(&ip.name, base).is_some() {
                return Err(XclbinError::design(subject(), "it twice", "one of a name"));
            }
            let compute_units = &mut self.kernels[*index].compute_units;
            units.push(Some((*index, compute_units.len())));
            compute_units.push(ComputeUnit {
                name: unit.to_owned(),
                base,
                interrupt: ip.interrupt(),
                protocol: ip.protocol(),
                banks: Vec::new(),
            });
        }
        for kernel in &metadata.kernels {
            for instance in &kernel.instances {
                let name = format!("{}:{}", kernel.name, instance.name);
                let subject = || format!("{}: {}", SectionKind::EMBEDDED_METADATA, quoted(&name));
                let Some(base) = bases.get(name.as_str()) else {
                    let expected = "one that is in IP_LAYOUT too";
                    return Err(XclbinError::design(subject(), "a compute unit of this name", expected));
                };
                if let (Some(said), Some(base)) = (instance.base, base)
                    && said != *base
                {
                    let found = format!("the address {said:#x}");
                    return Err(XclbinError::design(subject(), found, format!("{base:#x}, as in IP_LAYOUT")));
                }
            }
        }
        Ok(units)
    }

    /// Kernel and compute unit of a connection; none where the IP is no compute unit. All that it names is there.
    fn connected(
        &self,
        section: SectionKind,
        c: Connection,
        units: &[Option<(usize, usize)>],
        memories: usize,
    ) -> Result<Option<(usize, usize)>, XclbinError> {
        let below = |what: &str, index: u32, number: usize| {
            if (index as usize) < number {
                return Ok(());
            }
            let subject = format!("{section}: {c:?}");
            Err(XclbinError::design(
                subject,
                format!("{what} {index}"),
                format!("below {number}, their number"),
            ))
        };
        below("IP", c.ip, units.len())?;
        below("memory", c.memory, memories)?;
        let unit = units[c.ip as usize];
        if let Some((kernel, _)) = unit {
            below("argument", c.argument, self.kernels[kernel].arguments.len())?;
        }
        Ok(unit)
    }
}

/// A kernel without compute units; its arguments have ids 0, 1, …, ports, and registers of their own.
fn kernel(said: &KernelMetadata) -> Result<Kernel, XclbinError> {
    let subject = |a: &Argument| format!("argument {} of kernel {}", quoted(&a.name), quoted(&said.name));
    let ports: BTreeSet<&str> = said.ports.iter().map(|p| p.name.as_str()).collect();
    let mut arguments: Vec<Argument> = said.arguments.iter().filter(|a| a.id.is_some()).cloned().collect();
    arguments.sort_by_key(|a| a.id);
    for (i, a) in (0..).zip(&arguments) {
        if a.id != Some(i) {
            let found = format!("id {}", a.id.unwrap_or_default());
            return Err(XclbinError::design(
                subject(a),
                found,
                format!("id {i}: ids count from 0 without a gap"),
            ));
        }
        if !ports.contains(a.port.as_str()) {
            let found = format!("the port {}", quoted(&a.port));
            return Err(XclbinError::design(subject(a), found, "a port of the kernel"));
        }
    }
    if let Some(twice) = duplicate(arguments.iter().map(|a| a.name.as_str())) {
        let subject = format!("the arguments of kernel {}", quoted(&said.name));
        return Err(XclbinError::design(subject, format!("{} twice", quoted(twice)), "one of a name"));
    }
    let mut registers: Vec<&Argument> =
        arguments.iter().filter(|a| matches!(a.role, Role::Scalar | Role::Pointer)).collect();
    registers.sort_by_key(|a| a.offset);
    let mut free = FIRST_ARGUMENT;
    for a in registers {
        if a.offset < free {
            let found = format!("the offset {:#x}", a.offset);
            let expected = format!("at least {free:#x}, behind the registers before");
            return Err(XclbinError::design(subject(a), found, expected));
        }
        let end = a.offset.checked_add(a.size).filter(|_| a.size > 0);
        free = end.ok_or_else(|| {
            XclbinError::design(
                subject(a),
                format!("{} bytes at {:#x}", a.size, a.offset),
                "a register's size",
            )
        })?;
    }
    Ok(Kernel { name: said.name.clone(), arguments, compute_units: Vec::new() })
}

/// A name that is there twice.
fn duplicate<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}
