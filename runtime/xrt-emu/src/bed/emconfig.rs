//! `emconfig.json`: the cards that XRT's emulations have, and their memories.

use serde_json::json;

/// Cards of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emconfig {
    /// Platform: VENDOR_BOARD_NAME and more.
    pub platform: String,
    /// Number of cards.
    pub cards: u32,
    /// MiB of each memory bank; from 1024 on whole GiB count.
    pub banks_mib: Vec<u64>,
}

impl Default for Emconfig {
    /// A card with two banks of 16 GiB.
    fn default() -> Self {
        Self { platform: "hypersonic_emulated_card_1".to_owned(), cards: 1, banks_mib: vec![16 << 10; 2] }
    }
}

impl Emconfig {
    /// The tool that the file says it is from.
    pub const TOOL: &str = "hypersonic";

    /// The file. XRT gives the first bank address 0 and each other one the end of the one before.
    pub fn to_json(&self) -> String {
        let banks: Vec<_> = self.banks_mib.iter().map(|mib| json!({ "Size": size(*mib) })).collect();
        // All values are text, and one of the names is misspelt, as XRT reads them.
        let device = json!({
            "Name": self.platform,
            "HalMajorVersion": "1",
            "HalMinorVersion": "0",
            "VendorId": "4334",
            "SubsystemVendorId": "4334",
            "DeviceVersion": "0",
            "DataAlignment": "4096",
            "OclFreqency": "300",
            "NumDevices": self.cards.to_string(),
            "DdrBanks": banks,
        });
        let all = json!({
            "Version": { "FileVersion": "2.0", "ToolVersion": Self::TOOL },
            "Platform": {
                "UnifiedPlatform": "true",
                "ExpandedPR": "true",
                "Boards": [{ "NumBoards": "1", "Devices": [device] }],
            },
        });
        format!("{all:#}\n")
    }
}

/// XRT takes a number of 1024 and more for zero.
fn size(mib: u64) -> String {
    if mib < 1024 { format!("{mib}MB") } else { format!("{}GB", mib / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_have_sizes_that_xrt_reads() {
        assert_eq!([256, 512, 1023, 1024, 16 << 10].map(size), ["256MB", "512MB", "1023MB", "1GB", "16GB"]);
        let emconfig = Emconfig { cards: 3, ..Emconfig::default() };
        let read: serde_json::Value = serde_json::from_str(&emconfig.to_json()).unwrap();
        let device = &read["Platform"]["Boards"][0]["Devices"][0];
        assert_eq!((&device["NumDevices"], &device["DdrBanks"][1]["Size"]), (&json!("3"), &json!("16GB")));
    }
}
