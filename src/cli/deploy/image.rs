//! What AWS makes an F1 image of, and the .awsxclbin that names the image. The same bitstream gives the same bytes.
//!
//! The steps are those of AWS' own script for Vitis (aws-fpga, `create_vitis_afi.sh`).

use hs_bitstream::{Bitstream, Digest, Timestamp};
use hs_xclbin::{Agfi, ClockKind, Section, SectionKind, Xclbin, XclbinError};
use serde_json::Value;

use super::super::exit::Failure;

/// What the platforms of F1 are called.
const PLATFORM: &str = "aws-vu9p-f1";
/// Releases whose SYSTEM_METADATA AWS' flow keeps.
const KEEPS_SYSTEM_METADATA: [&str; 3] = ["2020.2", "2021.1", "2021.2"];
/// A block of a tar archive.
const BLOCK: usize = 512;

/// What is uploaded.
pub(super) struct Submission {
    /// Name of the archive.
    pub(super) archive_name: String,
    /// A tar of the design checkpoint and of what AWS wants to know of it.
    pub(super) archive: Vec<u8>,
    /// What AWS wants to know of it.
    pub(super) manifest: String,
}

impl Submission {
    pub(super) fn of(
        bitstream: &Bitstream,
        tool_version: &str,
        hdk_version: &str,
    ) -> Result<Self, Failure> {
        let design = bitstream.design();
        let dcp = bitstream.xclbin().data(SectionKind::BITSTREAM).unwrap_or_default();
        let clock = |kind: ClockKind, what: &str| {
            design.clocks.iter().find(|c| c.kind == kind).map(|c| c.mhz).ok_or_else(|| {
                Failure::input(format!("the bitstream has no {what} clock, and AWS wants to know it"))
                    .help("link it with v++ for the platform of F1")
            })
        };
        let clocks = [
            ("clock_main_a0", clock(ClockKind::SYSTEM, "system")?),
            ("clock_extra_b0", clock(ClockKind::DATA, "data")?),
            ("clock_extra_c0", clock(ClockKind::KERNEL, "kernel")?),
        ];
        // When it was linked, so that the same bitstream is the same upload.
        let stamp = stamp(&Timestamp::of_unix(bitstream.xclbin().header().time_stamp));
        let dcp_name = format!("{stamp}_SH_CL_routed.dcp");
        let hash = Digest::of(dcp).to_string();
        let mut lines = vec![
            ("manifest_format_version", "2".to_owned()),
            ("pci_vendor_id", "0x1D0F".to_owned()),
            ("pci_device_id", "0xF010".to_owned()),
            ("pci_subsystem_id", "0x1D51".to_owned()),
            ("pci_subsystem_vendor_id", "0xFEDD".to_owned()),
            ("dcp_hash", hash),
            ("shell_version", "0x04261818".to_owned()),
            ("dcp_file_name", dcp_name.clone()),
            ("hdk_version", hdk_version.to_owned()),
            ("tool_version", format!("v{tool_version}")),
            ("date", stamp.clone()),
        ];
        lines.extend(clocks.map(|(name, mhz)| (name, mhz.to_string())));
        let manifest: String = lines.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        let files = [
            (format!("to_aws/{dcp_name}"), dcp),
            (format!("to_aws/{stamp}_manifest.txt"), manifest.as_bytes()),
        ];
        let archive = tar(&files, bitstream.xclbin().header().time_stamp);
        let short = &bitstream.sha256().to_string()[..12];
        let archive_name = format!("{stamp}_{short}_Developer_Vitis_Kernel.tar");
        Ok(Self { archive_name, archive, manifest })
    }
}

/// Whether a bitstream is one that AWS makes an image of.
pub(super) fn check(bitstream: &Bitstream) -> Result<(), Failure> {
    let platform = &bitstream.design().platform;
    if !platform.replace(':', "_").contains(PLATFORM) {
        return Err(Failure::input(format!(
            "the bitstream is for the platform {}, not for AWS F1",
            platform.escape_debug()
        ))
        .help("compile and build the model with --platform aws-f1"));
    }
    if let Some(agfi) = bitstream.xclbin().agfi() {
        return Err(Failure::input(format!("the bitstream is an .awsxclbin already, of the image {agfi}"))
            .help("`hypersonic bitstream register` takes it as it is"));
    }
    Ok(())
}

/// The release of the tools that linked a bitstream.
pub(super) fn tool_version(bitstream: &Bitstream) -> Option<String> {
    let built = bitstream.xclbin().data(SectionKind::BUILD_METADATA)?;
    let built: Value = serde_json::from_slice(built).ok()?;
    let version = built["build_metadata"]["xclbin"]["generated_by"]["version"].as_str()?;
    is_release(version).then(|| version.to_owned())
}

/// Whether a text is a release of Vitis: `2021.2`, `2020.2.1`.
pub(super) fn is_release(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let digits = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    matches!(parts.len(), 2 | 3) && parts[0].len() == 4 && parts.iter().all(digits)
}

/// The file that the host loads: the image's name in place of the bits.
pub(super) fn awsxclbin(xclbin: Xclbin, agfi: &Agfi, tool_version: &str) -> Result<Xclbin, XclbinError> {
    let keeps = KEEPS_SYSTEM_METADATA.iter().any(|r| tool_version == *r || tool_version.starts_with(&format!("{r}.")));
    let (header, sections) = xclbin.into_parts();
    let mut kept = Vec::with_capacity(sections.len());
    for section in sections {
        match section.kind() {
            SectionKind::BITSTREAM => {
                kept.push(Section::new(SectionKind::BITSTREAM, &section.name(), agfi.to_string().into_bytes())?);
            }
            SectionKind::PARTITION_METADATA => {}
            SectionKind::SYSTEM_METADATA if !keeps => {}
            _ => kept.push(section),
        }
    }
    Ok(Xclbin::new(header, kept))
}

/// `YY_MM_DD-HHMMSS`.
fn stamp(time: &Timestamp) -> String {
    let t = time.as_str();
    format!("{}_{}_{}-{}{}{}", &t[2..4], &t[5..7], &t[8..10], &t[11..13], &t[14..16], &t[17..19])
}

/// A tar archive (POSIX.1-1988, ustar) of files of less than 8 GiB, with names of less than 100 bytes.
fn tar(files: &[(String, &[u8])], time: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in files {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644");
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", data.len()));
        put(136, &format!("{:011o}", time.min(0o77_777_777_777)));
        // The checksum is over blanks in its own place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}
