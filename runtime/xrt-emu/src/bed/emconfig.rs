//! `emconfig.json`: the cards that XRT's emulations have, and their memories.

use serde_json::json;

/// Cards of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emconfig {
    /// Platform: VENDOR_BOARD_NAME and more.
    pub platform: String,
    /// Number of cards.
    pub cards: u32,
    /// MiB of each memory bank.
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
        let banks: Vec<_> = self.banks_mib.iter().map(|mib| json!({ "Size": format!("{mib}MB") })).collect();
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
