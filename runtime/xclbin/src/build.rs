//! Files for kernels with the standard control registers.

use serde_json::json;

use crate::{
    Argument, Clock, ClockKind, Connection, Design, EmbeddedMetadata, Header, Instance, Ip, KernelMetadata,
    Memory, Mode, PartitionMetadata, Port, PortMode, Protocol, Role, Section, SectionKind, UserMetadata,
    Uuid, Version, Xclbin, XclbinError, design::FIRST_ARGUMENT, error::quoted,
};

/// Port of the registers.
const CONTROL: &str = "S_AXI_CONTROL";
/// Bytes of a compute unit's registers.
const REGISTERS: u64 = 0x1_0000;
/// Where the registers of the first compute unit are.
const FIRST_UNIT: u64 = 0x180_0000;
/// Compute units that have an interrupt of their own.
const MOST_UNITS: usize = 128;
/// Bits of a port to memory.
const MEMORY_BITS: u64 = 512;
/// The version of the format that is written.
const VERSION: Version = Version { major: 2, minor: 13, patch: 0 };

/// What a file is made of. The same parts give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// Platform: VENDOR_BOARD_NAME and more, at most 63 bytes.
    pub platform: String,
    /// What runs the file.
    pub mode: Mode,
    /// Memory banks; which of them are used follows from the compute units.
    pub memories: Vec<Memory>,
    /// Kernels.
    pub kernels: Vec<KernelSpec>,
    /// How compute units are started.
    pub protocol: Protocol,
    /// Clock of the kernels in MHz.
    pub clock_mhz: u16,
    /// What is loaded; one byte at least.
    pub bitstream: Vec<u8>,
    /// The package, for USER_METADATA.
    pub user: Option<UserMetadata>,
    /// The shell's interface, for PARTITION_METADATA.
    pub interface: Option<Uuid>,
}

/// A kernel to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSpec {
    /// Its function.
    pub name: String,
    /// Its arguments, in order.
    pub arguments: Vec<ArgumentSpec>,
    /// Its compute units.
    pub compute_units: Vec<ComputeUnitSpec>,
}

/// An argument of a kernel to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentSpec {
    /// A pointer, through a port of its own.
    Pointer {
        /// Its name.
        name: String,
    },
    /// A `uint32`.
    Uint {
        /// Its name.
        name: String,
    },
}

/// A compute unit to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeUnitSpec {
    /// Its name.
    pub name: String,
    /// Index of the memory of each pointer, in the order of the pointers.
    pub banks: Vec<u32>,
}

impl Builder {
    /// The file: one that a [`Design`] can be made of.
    pub fn build(&self) -> Result<Xclbin, XclbinError> {
        let mut memories = self.memories.clone();
        memories.iter_mut().for_each(|m| m.used = false);
        let (mut ips, mut connections, mut metadata) = (Vec::new(), Vec::new(), EmbeddedMetadata::default());
        for spec in &self.kernels {
            let mut kernel = spec.metadata();
            let pointers: Vec<u32> = (0..)
                .zip(&kernel.arguments)
                .filter(|(_, a)| a.role == Role::Pointer)
                .map(|(id, _)| id)
                .collect();
            for unit in &spec.compute_units {
                let name = format!("{}:{}", spec.name, unit.name);
                let ip = ips.len();
                if ip >= MOST_UNITS {
                    return Err(XclbinError::design(
                        "the compute units",
                        "more",
                        format!("at most {MOST_UNITS}"),
                    ));
                }
                if unit.banks.len() != pointers.len() {
                    let subject = format!("compute unit {}", quoted(&name));
                    let (found, expected) = (unit.banks.len(), pointers.len());
                    return Err(XclbinError::design(
                        subject,
                        format!("{found} memories"),
                        format!("{expected}, one a pointer"),
                    ));
                }
                let base = FIRST_UNIT + REGISTERS * ip as u64;
                ips.push(Ip::kernel(name, base, ip as u8, self.protocol));
                kernel.instances.push(Instance { name: unit.name.clone(), base: Some(base) });
                for (argument, memory) in pointers.iter().zip(&unit.banks) {
                    if let Some(m) = memories.get_mut(*memory as usize) {
                        m.used = true;
                    }
                    connections.push(Connection { argument: *argument, ip: ip as u32, memory: *memory });
                }
            }
            metadata.kernels.push(kernel);
        }
        let target = match self.mode {
            Mode::SW_EMU => "csim",
            Mode::HW_EMU | Mode::HW_EMU_PR => "hw_em",
            _ => "bitstream",
        };
        let clock = Clock { mhz: self.clock_mhz, kind: ClockKind::DATA, name: "DATA_CLK".to_owned() };
        let maker = json!({ "name": "hypersonic", "version": env!("CARGO_PKG_VERSION") });
        let built = json!({ "build_metadata": { "xclbin": { "generated_by": maker } } });
        let xml = metadata.write(&self.platform, target, &self.protocol.to_string());
        let mut parts = vec![
            (SectionKind::BITSTREAM, "bitstream", self.bitstream.clone()),
            (SectionKind::MEM_TOPOLOGY, "mem_topology", Memory::write(&memories)?),
            (SectionKind::IP_LAYOUT, "ip_layout", Ip::write(&ips)?),
            (SectionKind::CONNECTIVITY, "connectivity", Connection::write(&connections)),
            (SectionKind::CLOCK_FREQ_TOPOLOGY, "clocks", Clock::write(&[clock])?),
            (SectionKind::BUILD_METADATA, "build", format!("{built}\n").into_bytes()),
            (SectionKind::EMBEDDED_METADATA, "metadata", xml),
        ];
        if let Some(user) = &self.user {
            parts.push((SectionKind::USER_METADATA, "user", user.write()));
        }
        if let Some(interface) = self.interface {
            let partition = PartitionMetadata { interfaces: vec![interface], logic: None };
            parts.push((SectionKind::PARTITION_METADATA, "partition", partition.write()));
        }
        let sections = parts.into_iter().map(|(kind, name, data)| Section::new(kind, name, data));
        let mut header = Header::new(&self.platform, self.mode, VERSION)?;
        header.feature_rom_uuid = self.interface.unwrap_or_default();
        let xclbin = Xclbin::new(header, sections.collect::<Result<_, _>>()?);
        Design::of(&xclbin)?;
        Ok(xclbin)
    }
}

impl KernelSpec {
    /// Arguments and ports: registers one after the other, each with a reserved word behind it; a port to memory a
    /// pointer.
    fn metadata(&self) -> KernelMetadata {
        let control =
            Port { name: CONTROL.to_owned(), mode: PortMode::Slave, range: REGISTERS, data_width: 32 };
        let (mut ports, mut arguments, mut offset) = (vec![control], Vec::new(), FIRST_ARGUMENT);
        for (id, spec) in (0..).zip(&self.arguments) {
            let (name, role, port, size, ctype) = match spec {
                ArgumentSpec::Pointer { name } => {
                    let port = format!("M_AXI_GMEM{}", ports.len() - 1);
                    let (mode, range) = (PortMode::Master, u64::MAX);
                    ports.push(Port { name: port.clone(), mode, range, data_width: MEMORY_BITS });
                    (name, Role::Pointer, port, 8, "void*")
                }
                ArgumentSpec::Uint { name } => (name, Role::Scalar, CONTROL.to_owned(), 4, "uint"),
            };
            arguments.push(Argument {
                name: name.clone(),
                id: Some(id),
                role,
                port,
                offset,
                size,
                host_size: size,
                ctype: ctype.to_owned(),
            });
            offset += size + 4;
        }
        KernelMetadata { name: self.name.clone(), ports, arguments, instances: Vec::new() }
    }
}
