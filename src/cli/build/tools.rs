//! The vendor's tools on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hs_package::Tool;

use super::process::capture;

/// A program on PATH.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) tool: Tool,
}

/// Everything that a build may run.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// `vitis_hls`, or `vitis-run` in its place.
    pub(super) hls: Option<Found>,
    pub(super) vpp: Option<Found>,
    pub(super) emconfigutil: Option<Found>,
}

/// Time that a tool may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(60);
/// Last version of `vitis_hls`; `vitis-run` takes its place after.
const LAST_VITIS_HLS: &str = "2024.2";
/// Version of a tool that does not say.
const UNKNOWN: &str = "unknown";

impl Tools {
    /// Looks along PATH and asks each tool for its version.
    pub(super) fn find() -> Self {
        let old = find("vitis_hls", "-version").filter(|f| !is_later(&f.tool.version, LAST_VITIS_HLS));
        Self {
            hls: old.or_else(|| find("vitis-run", "--version")),
            vpp: find("v++", "--version"),
            emconfigutil: find("emconfigutil", "--version"),
        }
    }
}

fn find(name: &str, version: &str) -> Option<Found> {
    let path = env::var_os("PATH")?;
    let path = env::split_paths(&path).map(|dir| dir.join(name)).find(|p| is_executable(p))?;
    let said = capture(Command::new(&path).arg(version), VERSION_LIMIT).unwrap_or_default();
    let version = version_in(&said).unwrap_or_else(|| UNKNOWN.to_owned());
    Some(Found { path, tool: Tool { name: name.to_owned(), version } })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The first `v2023.2` or `v2024.1.1` of a text, without the `v`.
fn version_in(text: &str) -> Option<String> {
    text.match_indices('v').find_map(|(at, _)| {
        let version: String =
            text[at + 1..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let version = version.trim_end_matches('.');
        let year = version.split('.').next()?;
        (year.len() == 4 && version.len() > 5).then(|| version.to_owned())
    })
}

/// Whether a version is later than another; an unknown one is not.
fn is_later(version: &str, than: &str) -> bool {
    let parts = |v: &str| v.split('.').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>().ok();
    parts(version).zip(parts(than)).is_some_and(|(a, b)| a > b)
}

/// Where a platform is: the path of an .xpfm itself, or a name to look for in PLATFORM_REPO_PATHS, in the default
/// directory of the vendor's packages and in the installation. `Err`: the directories that were searched.
pub(super) fn platform(name: &str) -> Result<PathBuf, Vec<PathBuf>> {
    if name.ends_with(".xpfm") || name.contains('/') {
        let path = PathBuf::from(name);
        return if path.is_file() { Ok(path) } else { Err(vec![path]) };
    }
    let mut repositories: Vec<PathBuf> =
        env::var_os("PLATFORM_REPO_PATHS").map(|v| env::split_paths(&v).collect()).unwrap_or_default();
    repositories.push("/opt/xilinx/platforms".into());
    if let Some(vitis) = env::var_os("XILINX_VITIS") {
        repositories.extend(["platforms", "base_platforms"].map(|d| Path::new(&vitis).join(d)));
    }
    repositories.retain(|r| !r.as_os_str().is_empty());
    let file = format!("{name}.xpfm");
    let found = repositories.iter().flat_map(|r| [r.join(name).join(&file), r.join(&file)]).find(|p| p.is_file());
    found.ok_or(repositories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let hls = "\n****** Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2023.2 (64-bit)\n  **** SW Build 4023990";
        assert_eq!(version_in(hls).as_deref(), Some("2023.2"));
        assert_eq!(version_in("****** v++ v2024.1.1 (64-bit)").as_deref(), Some("2024.1.1"));
        assert_eq!(version_in("vitis-run version 7"), None);
        assert_eq!(version_in(""), None);
        assert!(is_later("2025.1", "2024.2") && is_later("2024.2.1", "2024.2"));
        assert!(!is_later("2024.2", "2024.2") && !is_later("2023.2", "2024.2") && !is_later("unknown", "2024.2"));
    }
}
