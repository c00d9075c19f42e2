//! The smallest xclbin that XRT takes: one kernel with two pointers and a number, one compute unit, two memory banks.

use hs_xclbin::{
    ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol, Section,
    SectionKind, Xclbin,
};

pub(crate) const KERNEL: &str = "twice";

/// What tests vary.
pub(crate) struct Minimal {
    /// C type of the number.
    pub(crate) scalar: &'static str,
    /// Name and type of the second bank.
    pub(crate) second_bank: (&'static str, u8),
    /// Kind of a section to leave out.
    pub(crate) without: Option<SectionKind>,
}

impl Default for Minimal {
    fn default() -> Self {
        Self { scalar: "uint", second_bank: ("bank1", 1), without: None }
    }
}

impl Minimal {
    pub(crate) fn xclbin(&self) -> Xclbin {
        let pointer = |name: &str| ArgumentSpec::Pointer { name: name.to_owned() };
        let memory = |(tag, kind): (&str, u8), base| Memory {
            kind: MemoryKind(kind),
            used: true,
            size_kib: 1 << 20,
            base,
            tag: tag.to_owned(),
        };
        let builder = Builder {
            platform: "test_minimal".to_owned(),
            mode: Mode::SW_EMU,
            memories: vec![memory(("bank0", 1), 0), memory(self.second_bank, 1 << 30)],
            kernels: vec![KernelSpec {
                name: KERNEL.to_owned(),
                arguments: vec![pointer("x"), pointer("y"), ArgumentSpec::Uint { name: "rows".to_owned() }],
                compute_units: vec![ComputeUnitSpec { name: "twice_1".to_owned(), banks: vec![0, 1] }],
            }],
            protocol: Protocol::Hs,
            clock_mhz: 300,
            bitstream: b"bits".to_vec(),
            user: None,
            interface: None,
        };
        let (header, mut sections) = builder.build().unwrap().into_parts();
        sections.retain(|s| Some(s.kind()) != self.without);
        for section in sections.iter_mut().filter(|s| s.kind() == SectionKind::EMBEDDED_METADATA) {
            let xml = std::str::from_utf8(section.data()).unwrap();
            assert_eq!(xml.matches("type=\"uint\"").count(), 1, "{xml}");
            let xml = xml.replace("type=\"uint\"", &format!("type=\"{}\"", self.scalar));
            *section = Section::new(section.kind(), "metadata", xml.into_bytes()).unwrap();
        }
        Xclbin::new(header, sections)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.xclbin().to_bytes()
    }
}
