//! Rules on the configuration of the link.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::hls::{CONNECTIVITY, EmittedFile};
use crate::platform::MAX_COMPUTE_UNITS;

/// A bank: its memory and index.
type Bank = (String, usize);

pub(super) fn check(files: &[EmittedFile], findings: &mut Vec<Finding>) {
    let Some(file) = files.iter().find(|f| f.path == CONNECTIVITY) else { return };
    let text = String::from_utf8_lossy(&file.bytes);
    let mut broken = |line: usize, rule: &'static str, found: String| {
        findings.push(Finding { path: file.path.clone(), line, rule, found });
    };
    let mut section = "";
    let mut units = BTreeSet::new();
    let mut regions = BTreeSet::new();
    // Argument → the banks of each unit.
    let mut banks: BTreeMap<(String, String), BTreeSet<Bank>> = BTreeMap::new();
    for (n, line) in text.lines().enumerate().map(|(n, l)| (n + 1, l.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            section = line;
            continue;
        }
        if section != "[connectivity]" {
            broken(n, "link-section", line.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        match key {
            "nk" => {
                let (kernel, count) = value.split_once(':').unwrap_or((value, ""));
                let count: u32 = count.parse().unwrap_or(0);
                if !(1..=MAX_COMPUTE_UNITS).contains(&count) {
                    broken(n, "link-compute-units", line.to_owned());
                }
                units.extend((1..=count.min(MAX_COMPUTE_UNITS)).map(|i| format!("{kernel}_{i}")));
            }
            "slr" => match value.split_once(':') {
                Some((unit, slr)) if slr.starts_with("SLR") && regions.insert(unit.to_owned()) => {}
                Some(_) | None => broken(n, "link-slr", line.to_owned()),
            },
            "sp" => {
                let port = value.split_once(':').and_then(|(port, bank)| {
                    let (unit, argument) = port.split_once('.')?;
                    Some(((unit.to_owned(), argument.to_owned()), group(bank)?))
                });
                match port {
                    Some((port, group)) if !banks.contains_key(&port) => {
                        banks.insert(port, group);
                    }
                    Some(_) | None => broken(n, "link-banks", line.to_owned()),
                }
            }
            _ => broken(n, "link-option", line.to_owned()),
        }
    }
    if regions != units {
        let differ: Vec<_> = units.symmetric_difference(&regions).cloned().collect();
        broken(1, "link-slr", format!("not exactly one region for {}", differ.join(", ")));
    }
    // The pointers of the kernel, by its own interface directives.
    let pointers = pointers(files);
    let wanted: BTreeSet<(String, String)> =
        units.iter().flat_map(|u| pointers.iter().map(move |p| (u.clone(), p.clone()))).collect();
    let placed: BTreeSet<_> = banks.keys().cloned().collect();
    if !pointers.is_empty() && placed != wanted {
        let differ: Vec<_> = wanted.symmetric_difference(&placed).map(|(u, p)| format!("{u}.{p}")).collect();
        broken(1, "link-banks", format!("not exactly one group of banks for {}", differ.join(", ")));
    }
    let side = |prefix: &str| -> BTreeSet<&Bank> {
        banks.iter().filter(|((_, a), _)| a.starts_with(prefix)).flat_map(|(_, b)| b).collect()
    };
    if let Some((memory, i)) = side("x_").intersection(&side("y_")).next() {
        broken(1, "link-disjoint", format!("{memory}[{i}] serves inputs and outputs"));
    }
}

/// The banks of `HBM[0:3]` or `DDR[1]`.
fn group(text: &str) -> Option<BTreeSet<Bank>> {
    let (memory, range) = text.strip_suffix(']')?.split_once('[')?;
    let (first, last) = range.split_once(':').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && !memory.is_empty()).then(|| (first..=last).map(|i| (memory.to_owned(), i)).collect())
}

/// Ports of `m_axi` directives in the project's kernel.
fn pointers(files: &[EmittedFile]) -> Vec<String> {
    let kernel = files.iter().filter(|f| f.path.starts_with("firmware/") && f.path.ends_with("_kernel.cpp"));
    let mut found = Vec::new();
    for file in kernel {
        for line in String::from_utf8_lossy(&file.bytes).lines() {
            let line = line.trim();
            if line.starts_with("#pragma HLS INTERFACE") && line.contains("m_axi") {
                let port = line.split_whitespace().find_map(|w| w.strip_prefix("port="));
                found.extend(port.map(str::to_owned));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "#pragma HLS INTERFACE m_axi port=x_x bundle=gmem_x_x depth=1\n\
                          #pragma HLS INTERFACE m_axi port=y_y bundle=gmem_y_y depth=1\n\
                          #pragma HLS INTERFACE s_axilite port=rows bundle=control\n";
    const LINK: &str = "# Link.\n[connectivity]\nnk=net_kernel:2\n\
                        slr=net_kernel_1:SLR0\nslr=net_kernel_2:SLR1\n\
                        sp=net_kernel_1.x_x:HBM[0:3]\nsp=net_kernel_1.y_y:HBM[8:11]\n\
                        sp=net_kernel_2.x_x:HBM[4:7]\nsp=net_kernel_2.y_y:HBM[12]\n";

    fn rules(link: &str) -> Vec<&'static str> {
        let file =
            |path: &str, text: &str| EmittedFile { path: path.to_owned(), bytes: text.as_bytes().to_vec() };
        let files = [file("firmware/net_kernel.cpp", KERNEL), file(CONNECTIVITY, link)];
        let mut findings = Vec::new();
        check(&files, &mut findings);
        let mut rules: Vec<_> = findings.into_iter().map(|f| f.rule).collect();
        rules.dedup();
        rules
    }

    #[test]
    fn each_rule_catches_its_mutation() {
        assert_eq!(rules(LINK), Vec::<&str>::new());
        let cases = [
            ("[connectivity]", "[advanced]", "link-section"),
            ("nk=net_kernel:2", "nk=net_kernel:32", "link-compute-units"),
            ("nk=net_kernel:2", "nk=net_kernel:0", "link-compute-units"),
            ("nk=net_kernel:2", "nk=net_kernel:1", "link-slr"),
            ("slr=net_kernel_2:SLR1\n", "", "link-slr"),
            ("slr=net_kernel_2:SLR1", "slr=net_kernel_1:SLR1", "link-slr"),
            ("slr=net_kernel_2:SLR1", "slr=net_kernel_2:1", "link-slr"),
            ("sp=net_kernel_2.x_x:HBM[4:7]\n", "", "link-banks"),
            ("sp=net_kernel_2.x_x:HBM[4:7]", "sp=net_kernel_2.x_z:HBM[4:7]", "link-banks"),
            ("sp=net_kernel_2.x_x:HBM[4:7]", "sp=net_kernel_2.x_x:HBM[7:4]", "link-banks"),
            ("sp=net_kernel_2.x_x:HBM[4:7]", "sp=net_kernel_2.x_x:HBM", "link-banks"),
            ("sp=net_kernel_2.x_x:HBM[4:7]", "sp=net_kernel_2.x_x:HBM[4:8]", "link-disjoint"),
            ("sp=net_kernel_2.y_y:HBM[12]", "sp=net_kernel_2.y_y:HBM[2]", "link-disjoint"),
            ("nk=", "stream_connect=a:b\nnk=", "link-option"),
        ];
        for (from, to, rule) in cases {
            let text = LINK.replacen(from, to, 1);
            assert_ne!(text, LINK);
            assert!(rules(&text).contains(&rule), "{from:?} → {to:?}: {:?}", rules(&text));
        }
    }
}
