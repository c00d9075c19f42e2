//! The smallest xclbin that XRT takes: one kernel with two pointers and a number, one compute unit, two memory banks.

pub(crate) const KERNEL: &str = "twice";
pub(crate) const UUID: [u8; 16] = *b"a minimal xclbin";

/// What tests vary.
pub(crate) struct Minimal {
    /// C type of the number.
    pub(crate) scalar: &'static str,
    /// Name and type of the second bank.
    pub(crate) second_bank: (&'static str, u8),
    /// Kind of a section to leave out.
    pub(crate) without: Option<u32>,
}

impl Default for Minimal {
    fn default() -> Self {
        Self { scalar: "uint", second_bank: ("bank1", 1), without: None }
    }
}

impl Minimal {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut sections = vec![
            (0_u32, b"bits".to_vec()),
            (6, self.banks()),
            (8, compute_units()),
            (7, connections()),
            (2, self.metadata().into_bytes()),
        ];
        sections.retain(|(kind, _)| Some(*kind) != self.without);
        let mut out = vec![0; 456 + 40 * sections.len()];
        out[..8].copy_from_slice(b"xclbin2\0");
        out[8..40].fill(0xff);
        (out[330], out[331]) = (2, 13);
        out[332] = 5;
        out[352..364].copy_from_slice(b"test_minimal");
        out[416..432].copy_from_slice(&UUID);
        out[448] = sections.len() as u8;
        for (index, (kind, bytes)) in sections.iter().enumerate() {
            out.resize(out.len().next_multiple_of(8), 0);
            let mut header = kind.to_le_bytes().to_vec();
            header.extend(text("section", 16));
            header.extend([0; 4]);
            header.extend((out.len() as u64).to_le_bytes());
            header.extend((bytes.len() as u64).to_le_bytes());
            out[456 + 40 * index..][..40].copy_from_slice(&header);
            out.extend(bytes);
        }
        let length = out.len() as u64;
        out[304..312].copy_from_slice(&length.to_le_bytes());
        out
    }

    fn banks(&self) -> Vec<u8> {
        let mut out = words(&[2, 0]);
        for (index, (name, kind)) in [("bank0", 1), self.second_bank].into_iter().enumerate() {
            out.extend([kind, 1, 0, 0, 0, 0, 0, 0]);
            out.extend((1_u64 << 20).to_le_bytes());
            out.extend(((index as u64) << 30).to_le_bytes());
            out.extend(text(name, 16));
        }
        out
    }

    fn metadata(&self) -> String {
        let argument = |id, name: &str, qualifier, port: &str, size, offset, ty: &str| {
            format!(
                "<arg name='{name}' addressQualifier='{qualifier}' id='{id}' port='{port}' size='{size:#x}' \
                 offset='{offset:#x}' hostOffset='0x0' hostSize='{size:#x}' type='{ty}'/>"
            )
        };
        let port = |name: &str, mode: &str| {
            format!("<port name='{name}' mode='{mode}' range='0x1000' dataWidth='32'/>")
        };
        [
            "<?xml version='1.0'?><project name='minimal'><platform vendor='a' boardid='b' name='c'><device name='d'>",
            "<core name='OCL_REGION_0' target='csim' type='clc_region'>",
            &format!("<kernel name='{KERNEL}' language='c'>"),
            &port("S_AXI_CONTROL", "slave"),
            &port("M_AXI_X", "master"),
            &port("M_AXI_Y", "master"),
            &argument(0, "x", 1, "M_AXI_X", 8, 0x10, "int*"),
            &argument(1, "y", 1, "M_AXI_Y", 8, 0x1c, "int*"),
            &argument(2, "rows", 0, "S_AXI_CONTROL", 4, 0x28, self.scalar),
            "<instance name='twice_1'><addrRemap base='0x10000' range='0x10000' port='S_AXI_CONTROL'/></instance>",
            "</kernel></core></device></platform></project>",
        ]
        .concat()
    }
}

fn compute_units() -> Vec<u8> {
    let mut out = words(&[1, 0, 1, 1]);
    out.extend(0x10000_u64.to_le_bytes());
    out.extend(text("twice:twice_1", 64));
    out
}

/// Arguments 0 and 1 of the compute unit, in banks 0 and 1.
fn connections() -> Vec<u8> {
    words(&[2, 0, 0, 0, 1, 0, 1])
}

fn words(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn text(text: &str, size: usize) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    out.resize(size, 0);
    out
}
