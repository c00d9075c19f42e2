//! Cards on the PCIe bus, as Linux shows them in sysfs: what is there without XRT, and why XRT cannot use it.
//!
//! Everything is read, nothing is run, and XRT need not be installed. Names of attributes are those of the kernel drivers
//! `xocl` and `xclmgmt` of XRT 2.13, read off their sources. A driver exports, in a function's folder: `user_pf` or `mgmt_pf` (which one it is), `ready`, `dev_offline`, `interface_uuids`, `logic_uuids`, and in the
//! folders of its parts `rom.u.N/VBNV` (`.m.` for management), `xmc.u.N/xmc_power` in microwatts and `xmc_fpga_temp` in
//! degrees Celsius. Where these two are missing, the kernel's own `hwmon/hwmonN/power1_input` (microwatts) and
//! `temp1_input` (thousandths of a degree) are taken.
//!
//! A card has two functions: the user's, which XRT's `xocl` drives and hosts open, and management's, which `xclmgmt`
//! drives. Clouds pass on the user's alone.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Read as _,
    path::{Path, PathBuf},
    str::FromStr,
};

const XILINX: u16 = 0x10ee;
const AWS: u16 = 0x1d0f;
/// Bytes of the longest attribute that is read: those of a page, as sysfs has it.
const MOST_BYTES: u64 = 4096;

/// The driver of user functions.
const USER_DRIVER: &str = "xocl";
/// The driver of management functions.
const MANAGEMENT_DRIVER: &str = "xclmgmt";

/// What a function is known to be by its ids alone, which is all there is without a driver.
const KNOWN: &[(u16, u16, Role, &str)] = &[
    (XILINX, 0x5000, Role::Management, "Alveo U200"),
    (XILINX, 0x5001, Role::User, "Alveo U200"),
    (XILINX, 0x5004, Role::Management, "Alveo U250"),
    (XILINX, 0x5005, Role::User, "Alveo U250"),
    (XILINX, 0x500c, Role::Management, "Alveo U280"),
    (XILINX, 0x500d, Role::User, "Alveo U280"),
    (XILINX, 0x5020, Role::Management, "Alveo U50"),
    (XILINX, 0x5021, Role::User, "Alveo U50"),
    (XILINX, 0x5058, Role::Management, "Alveo U55N"),
    (XILINX, 0x5059, Role::User, "Alveo U55N"),
    (XILINX, 0x505c, Role::Management, "Alveo U55C"),
    (XILINX, 0x505d, Role::User, "Alveo U55C"),
    (XILINX, 0x5060, Role::Management, "Alveo U50LV"),
    (XILINX, 0x5061, Role::User, "Alveo U50LV"),
    (AWS, 0x1042, Role::User, "AWS F1, without an image"),
    (AWS, 0xf000, Role::User, "AWS F1"),
    (AWS, 0xf010, Role::User, "AWS F1"),
    (AWS, 0xf011, Role::User, "AWS F1, shell without DMA"),
];

/// Address of a function: domain, bus, device, function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bdf {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// Text that is no address of a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no PCIe address like 0000:3b:00.1", .0.escape_debug())]
pub struct ParseBdfError(String);

impl FromStr for Bdf {
    type Err = ParseBdfError;

    /// `DDDD:BB:DD.F` in hexadecimal digits; without `DDDD:`, of domain 0.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || ParseBdfError(s.chars().take(40).collect());
        let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
            let all = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            all.then(|| u32::from_str_radix(text, 16).ok()).flatten().ok_or_else(bad)
        };
        let (rest, function) = s.rsplit_once('.').ok_or_else(bad)?;
        let (rest, device) = rest.rsplit_once(':').ok_or_else(bad)?;
        let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
        let (device, function) = (number(device, 2..=2)?, number(function, 1..=1)?);
        if device >= 32 || function >= 8 {
            return Err(bad());
        }
        Ok(Self {
            domain: number(domain, 4..=8)?,
            bus: number(bus, 2..=2)? as u8,
            device: device as u8,
            function: function as u8,
        })
    }
}

impl fmt::Display for Bdf {
    /// As XRT writes it and `xrtDeviceOpenByBDF` takes it: `0000:3b:00.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}

/// What a function is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What hosts open.
    User,
    /// What flashes and resets the card.
    Management,
}

/// A function of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its address.
    pub bdf: Bdf,
    /// Id of its vendor.
    pub vendor: u16,
    /// Id of its device.
    pub device: u16,
    /// What it is for; none: neither its ids nor its driver say.
    pub role: Option<Role>,
    /// The kernel's driver that it is bound to.
    pub driver: Option<String>,
}

/// A card.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// Its functions, by address; one at least.
    pub functions: Vec<Function>,
    /// Which card it is, where its ids say.
    pub board: Option<&'static str>,
    /// The platform of its shell, as a bitstream names it: vendor, board, name and version.
    pub platform: Option<String>,
    /// Interfaces of its shell: UUIDs of 32 hexadecimal digits, with or without hyphens. Empty: not known, or a shell
    /// of one stage, which has none.
    pub interfaces: Vec<String>,
    /// UUIDs of its shell itself, likewise.
    pub logic: Vec<String>,
    /// Power that it takes.
    pub watts: Option<f64>,
    /// Temperature of its FPGA.
    pub celsius: Option<f64>,
    /// Why XRT cannot use it; none: nothing is known to be in the way.
    pub problem: Option<Problem>,
}

/// Why XRT cannot use a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The user function has no driver.
    #[error(
        "no driver is bound to {bdf}: install {package} for this kernel and load its driver (modprobe {USER_DRIVER})"
    )]
    NoDriver {
        /// The function.
        bdf: Bdf,
        /// What has the driver.
        package: &'static str,
    },
    /// The user function has a driver that is not XRT's.
    #[error("the driver {driver} is bound to {bdf}, not {USER_DRIVER}: unbind it, and load {USER_DRIVER}")]
    OtherDriver {
        /// The function.
        bdf: Bdf,
        /// The driver.
        driver: String,
    },
    /// There is only the function for management.
    #[error(
        "{bdf} is the management function, and the card shows no user function: flash a platform (xbmgmt program \
         --base), then reboot; in a virtual machine, pass the user function on"
    )]
    NoUserFunction {
        /// The function.
        bdf: Bdf,
    },
    /// No driver of XRT knows the ids.
    #[error("{bdf} has the ids {vendor:04x}:{device:04x}, which are no card's that XRT is known to drive")]
    Unknown {
        /// The function.
        bdf: Bdf,
        /// Id of its vendor.
        vendor: u16,
        /// Id of its device.
        device: u16,
    },
    /// The driver says that the card is not ready.
    #[error("the driver says that {bdf} is not ready: {hint}")]
    NotReady {
        /// The function.
        bdf: Bdf,
        /// What may help.
        hint: &'static str,
    },
    /// The card was taken away, or is being reset.
    #[error("{bdf} is offline: it is being reset or was shut down; `xbutil examine` says more")]
    Offline {
        /// The function.
        bdf: Bdf,
    },
}

impl Card {
    /// The address that XRT opens the card by; of a card without a user function, that of its first.
    pub fn bdf(&self) -> Option<Bdf> {
        self.function(Role::User).or(self.functions.first()).map(|f| f.bdf)
    }

    /// The function for a purpose.
    pub fn function(&self, role: Role) -> Option<&Function> {
        self.functions.iter().find(|f| f.role == Some(role))
    }

    /// Whether one of its functions has this address.
    pub fn has(&self, bdf: Bdf) -> bool {
        self.functions.iter().any(|f| f.bdf == bdf)
    }
}

/// The cards below a root of sysfs, `/sys`, by address. Where sysfs says nothing, or nonsense, there are none.
pub fn cards(sysfs: &Path) -> Vec<Card> {
    let devices = sysfs.join("bus/pci/devices");
    let entries = fs::read_dir(devices).into_iter().flatten().flatten();
    let mut functions: Vec<(Function, PathBuf)> = entries.filter_map(|e| function(&e.path())).collect();
    functions.sort_by_key(|(f, _)| f.bdf);
    let mut cards: BTreeMap<_, Vec<(Function, PathBuf)>> = BTreeMap::new();
    for (function, path) in functions {
        let Bdf { domain, bus, device, .. } = function.bdf;
        cards.entry((domain, bus, device)).or_default().push((function, path));
    }
    cards.into_values().map(card).collect()
}

/// A function in its folder, if it is one of a card.
fn function(path: &Path) -> Option<(Function, PathBuf)> {
    let bdf: Bdf = path.file_name()?.to_str()?.parse().ok()?;
    let id = |name| u16::from_str_radix(text(&path.join(name))?.strip_prefix("0x")?, 16).ok();
    let (vendor, device) = (id("vendor")?, id("device")?);
    let driver = fs::read_link(path.join("driver")).ok();
    let driver = driver.and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    let known = KNOWN.iter().find(|(v, d, ..)| (*v, *d) == (vendor, device)).map(|(_, _, role, _)| *role);
    let role = if path.join("user_pf").exists() || driver.as_deref() == Some(USER_DRIVER) {
        Some(Role::User)
    } else if path.join("mgmt_pf").exists() || driver.as_deref() == Some(MANAGEMENT_DRIVER) {
        Some(Role::Management)
    } else {
        known
    };
    // Others make devices with Xilinx' ids too, and AWS' disks and networks have AWS'.
    (role.is_some() || vendor == XILINX)
        .then(|| (Function { bdf, vendor, device, role, driver }, path.to_owned()))
}

fn card(all: Vec<(Function, PathBuf)>) -> Card {
    // The user function says what counts for a host; management fills in.
    let rank = |f: &Function| match f.role {
        Some(Role::User) => 0,
        Some(Role::Management) => 1,
        None => 2,
    };
    let mut order: Vec<&(Function, PathBuf)> = all.iter().collect();
    order.sort_by_key(|(f, _)| (rank(f), f.bdf));
    let paths: Vec<&Path> = order.iter().map(|(_, p)| p.as_path()).collect();
    let uuids = |name: &str| {
        let lists = paths.iter().map(|p| uuids(&text(&p.join(name)).unwrap_or_default()));
        lists.into_iter().find(|l| !l.is_empty()).unwrap_or_default()
    };
    let number = |part: &str, name: &str, per_unit: f64| {
        paths
            .iter()
            .find_map(|p| part_value(p, part, name)?.parse().ok().map(|n: u32| f64::from(n) / per_unit))
    };
    let board = order.iter().find_map(|(f, _)| {
        KNOWN.iter().find(|(v, d, ..)| (*v, *d) == (f.vendor, f.device)).map(|(.., name)| *name)
    });
    let (interfaces, logic) = (uuids("interface_uuids"), uuids("logic_uuids"));
    let platform = paths.iter().find_map(|p| part_value(p, "rom", "VBNV"));
    let watts = number("xmc", "xmc_power", 1e6).or_else(|| number("hwmon", "power1_input", 1e6));
    let celsius = number("xmc", "xmc_fpga_temp", 1.0).or_else(|| number("hwmon", "temp1_input", 1e3));
    let problem = problem(&order);
    let functions = all.into_iter().map(|(f, _)| f).collect();
    Card { functions, board, platform, interfaces, logic, watts, celsius, problem }
}

fn problem(order: &[&(Function, PathBuf)]) -> Option<Problem> {
    let (first, path) = order.first()?;
    let bdf = first.bdf;
    match first.role {
        None => return Some(Problem::Unknown { bdf, vendor: first.vendor, device: first.device }),
        Some(Role::Management) => return Some(Problem::NoUserFunction { bdf }),
        Some(Role::User) => {}
    }
    match first.driver.as_deref() {
        None => {
            let package = if first.vendor == AWS { "XRT with its package xrt-aws" } else { "XRT" };
            return Some(Problem::NoDriver { bdf, package });
        }
        Some(USER_DRIVER) => {}
        Some(other) => return Some(Problem::OtherDriver { bdf, driver: other.to_owned() }),
    }
    let is = |name: &str, bad: u8| {
        let said = text(&path.join(name))?;
        let digits = said.strip_prefix("0x").unwrap_or(&said);
        Some(u64::from_str_radix(digits, 16).ok()? == u64::from(bad))
    };
    if is("dev_offline", 1) == Some(true) {
        return Some(Problem::Offline { bdf });
    }
    if is("ready", 0) == Some(true) {
        let hint = if first.vendor == AWS {
            "start the daemon mpd of the package xrt-aws"
        } else {
            "its shell is not loaded or management does not answer; `xbmgmt examine` says more"
        };
        return Some(Problem::NotReady { bdf, hint });
    }
    None
}

/// An attribute in the first folder of a function that is a part of this name and has it: `rom.u.5`, or `hwmon/hwmon3`.
fn part_value(function: &Path, part: &str, name: &str) -> Option<String> {
    let (parent, prefix) = match part {
        "hwmon" => (function.join("hwmon"), "hwmon".to_owned()),
        part => (function.to_owned(), format!("{part}.")),
    };
    let mut folders: Vec<PathBuf> = fs::read_dir(parent)
        .ok()?
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .map(|e| e.path())
        .collect();
    folders.sort();
    folders.iter().find_map(|f| text(&f.join(name))).filter(|t| !t.is_empty())
}

/// The UUIDs of a list, one a line; what is none is left out.
fn uuids(text: &str) -> Vec<String> {
    let is_uuid = |line: &&str| {
        let digits = line.chars().filter(|c| *c != '-');
        digits.clone().count() == 32 && digits.clone().all(|c| c.is_ascii_hexdigit())
    };
    text.lines().map(str::trim).filter(is_uuid).map(str::to_owned).collect()
}

/// An attribute, without blanks around it; none where it cannot be read: drivers refuse to say what they do not know.
fn text(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const UUID: &str = "862c7020a250293e32036f19956669e5";

    /// A made-up sysfs.
    struct Bed(tempfile::TempDir);

    impl Bed {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A function with its ids and driver, and more attributes.
        fn function(&self, bdf: &str, ids: (u16, u16), driver: Option<&str>, more: &[(&str, &str)]) {
            // The bus has links, as the kernel's has.
            let (device, devices) =
                (self.0.path().join("devices/pci").join(bdf), self.0.path().join("bus/pci/devices"));
            fs::create_dir_all(&device).unwrap();
            fs::create_dir_all(&devices).unwrap();
            symlink(&device, devices.join(bdf)).unwrap();
            let ids = [("vendor", format!("0x{:04x}\n", ids.0)), ("device", format!("0x{:04x}\n", ids.1))];
            for (name, value) in ids.iter().map(|(n, v)| (*n, v.as_str())).chain(more.iter().copied()) {
                let path = device.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, value).unwrap();
            }
            if let Some(driver) = driver {
                symlink(format!("../../../bus/pci/drivers/{driver}"), device.join("driver")).unwrap();
            }
        }

        fn cards(&self) -> Vec<Card> {
            cards(self.0.path())
        }

        fn only(&self) -> Card {
            let mut cards = self.cards();
            assert_eq!(cards.len(), 1, "{cards:?}");
            cards.pop().unwrap()
        }
    }

    #[test]
    fn a_card_that_works() {
        let bed = Bed::new();
        bed.function(
            "0000:3b:00.0",
            (XILINX, 0x505c),
            Some("xclmgmt"),
            &[
                ("mgmt_pf", ""),
                ("rom.m.15204352/VBNV", "xilinx_u55c_gen3x16_xdma_base_3\n"),
                ("ready", "0x1\n"),
            ],
        );
        bed.function(
            "0000:3b:00.1",
            (XILINX, 0x505d),
            Some("xocl"),
            &[
                ("user_pf", ""),
                ("ready", "0x1\n"),
                ("dev_offline", "0\n"),
                ("rom.u.15204353/VBNV", "xilinx_u55c_gen3x16_xdma_base_3\n"),
                ("interface_uuids", &format!("{UUID}\n")),
                ("logic_uuids", "97088961feaeda91524a2519aed09e5a\n"),
                ("xmc.u.15204353/xmc_power", "23500000\n"),
                ("xmc.u.15204353/xmc_fpga_temp", "41\n"),
            ],
        );
        let card = bed.only();
        assert_eq!(card.bdf().unwrap().to_string(), "0000:3b:00.1");
        assert_eq!(card.board, Some("Alveo U55C"));
        assert_eq!(card.platform.as_deref(), Some("xilinx_u55c_gen3x16_xdma_base_3"));
        assert_eq!(card.interfaces, [UUID]);
        assert_eq!(card.logic, ["97088961feaeda91524a2519aed09e5a"]);
        assert_eq!((card.watts, card.celsius), (Some(23.5), Some(41.0)));
        assert_eq!(card.problem, None);
        assert_eq!(card.function(Role::Management).unwrap().driver.as_deref(), Some("xclmgmt"));
        assert!(card.has("3b:00.0".parse().unwrap()) && !card.has("3c:00.0".parse().unwrap()));
    }

    #[test]
    fn power_and_temperature_by_the_kernels_names() {
        let bed = Bed::new();
        let more = [("hwmon/hwmon3/power1_input", "30000000"), ("hwmon/hwmon3/temp1_input", "55500")];
        bed.function("0000:01:00.1", (XILINX, 0x5005), Some("xocl"), &more);
        let card = bed.only();
        assert_eq!((card.watts, card.celsius), (Some(30.0), Some(55.5)));
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let problem = |ids, driver, more: &[(&str, &str)]| {
            let bed = Bed::new();
            bed.function("0000:01:00.1", ids, driver, more);
            bed.only().problem.unwrap().to_string()
        };
        let u250 = (XILINX, 0x5005);
        for (said, words) in [
            (problem(u250, None, &[]), ["0000:01:00.1", "install XRT for", "modprobe xocl"]),
            (problem(u250, Some("vfio-pci"), &[]), ["vfio-pci", "not xocl", "unbind"]),
            (problem((XILINX, 0x5004), Some("xclmgmt"), &[]), ["management", "no user function", "xbmgmt"]),
            (problem((XILINX, 0x9038), None, &[]), ["10ee:9038", "no card", "0000:01:00.1"]),
            (problem(u250, Some("xocl"), &[("ready", "0x0")]), ["not ready", "shell", "xbmgmt"]),
            (
                problem(u250, Some("xocl"), &[("dev_offline", "1"), ("ready", "0x0")]),
                ["offline", "reset", "xbutil"],
            ),
            (problem((AWS, 0xf010), None, &[]), ["xrt-aws", "modprobe xocl", "0000:01:00.1"]),
            (problem((AWS, 0xf010), Some("xocl"), &[("ready", "0x0")]), ["mpd", "xrt-aws", "not ready"]),
        ] {
            assert!(words.iter().all(|w| said.contains(w)), "{words:?}: {said}");
        }
    }

    #[test]
    fn other_devices_are_no_cards() {
        let bed = Bed::new();
        bed.function("0000:00:04.0", (AWS, 0x8061), Some("nvme"), &[]);
        bed.function("0000:00:05.0", (AWS, 0xec20), Some("ena"), &[]);
        bed.function("0000:00:06.0", (0x8086, 0x1521), Some("igb"), &[]);
        assert_eq!(bed.cards(), []);
        // Whoever made it: XRT's driver has it.
        bed.function("0000:00:07.1", (0x13fe, 0x0065), Some("xocl"), &[]);
        assert_eq!(bed.only().problem, None);
    }

    #[test]
    fn odd_trees_have_no_cards_or_cards_without_figures() {
        assert_eq!(cards(Path::new("/nowhere")), []);
        let bed = Bed::new();
        let devices = bed.0.path().join("bus/pci/devices");
        fs::create_dir_all(&devices).unwrap();
        for name in ["0000:01:00", "nonsense", "0000:01:00.9", "0000:zz:00.1", ":::.", "é.1"] {
            fs::create_dir(devices.join(name)).unwrap();
        }
        symlink("/nowhere", devices.join("0000:02:00.0")).unwrap();
        fs::write(devices.join("0000:03:00.0"), "a file").unwrap();
        fs::create_dir_all(devices.join("0000:04:00.0/vendor")).unwrap();
        assert_eq!(bed.cards(), []);
        let long = "x".repeat(100_000);
        bed.function(
            "0000:05:00.1",
            (XILINX, 0x5001),
            Some("xocl"),
            &[
                ("interface_uuids", &format!("\u{0}\n{UUID}\n{}\nzz", &UUID[1..])),
                ("rom.u.1/VBNV", "\n"),
                ("xmc.u.1/xmc_power", "-5"),
                ("xmc.u.1/xmc_fpga_temp", "warm"),
                ("ready", "perhaps"),
                ("dev_offline", &long),
                ("hwmon", "a file"),
            ],
        );
        let card = bed.only();
        assert_eq!((card.interfaces.as_slice(), &card.platform), (&[UUID.to_owned()][..], &None));
        assert_eq!((card.watts, card.celsius, card.problem), (None, None, None));
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("0000:3b:00.1", "0000:3b:00.1"),
            ("3b:1f.0", "0000:3b:1f.0"),
            ("10000:01:00.0", "10000:01:00.0"),
        ] {
            assert_eq!(text.parse::<Bdf>().unwrap().to_string(), expected);
        }
        for bad in
            ["", "3b", "3b:00", "0000:3b:20.1", "0000:3b:00.8", "+000:3b:00.1", "0000:3b:00.1 ", "0:3b:00.1"]
        {
            assert!(bad.parse::<Bdf>().is_err(), "{bad}");
        }
    }
}
