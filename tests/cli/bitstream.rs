//! `bitstream`, on files that were built for a package, changed, and damaged.

use std::{fs, path::Path};

use hs_package::Package;
use hs_xclbin::{
    ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol, Section,
    SectionKind, UserMetadata, Xclbin,
};
use serde_json::json;

use crate::{MLP, Run, listing, run};

const IMAGE: &str = "agfi-0123456789abcdef0";

/// A directory with a package, and what a bitstream of it is made of.
pub(crate) struct Bed {
    dir: tempfile::TempDir,
    pub(crate) builder: Builder,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<12,4>").ok();
        let package = Package::open(dir.path().join("pkg")).unwrap();
        let kernel = package.manifest().kernel.clone().unwrap();
        let pointers: Vec<_> = kernel.inputs.iter().chain(&kernel.outputs).cloned().collect();
        let banks = vec![0; pointers.len()];
        let mut arguments: Vec<_> = pointers.into_iter().map(|name| ArgumentSpec::Pointer { name }).collect();
        arguments.push(ArgumentSpec::Uint { name: kernel.rows.clone() });
        assert_eq!(kernel.weights, None);
        let units =
            ["one", "two"].map(|name| ComputeUnitSpec { name: name.to_owned(), banks: banks.clone() });
        let memory = Memory {
            kind: MemoryKind::HBM,
            used: true,
            size_kib: 1 << 18,
            base: 0,
            tag: "HBM[0]".to_owned(),
        };
        let builder = Builder {
            platform: "xilinx_u55c_gen3x16_xdma_3_202210_1".to_owned(),
            mode: Mode::FLAT,
            memories: vec![memory],
            kernels: vec![KernelSpec { name: kernel.name, arguments, compute_units: units.to_vec() }],
            protocol: Protocol::Chain,
            clock_mhz: 300,
            bitstream: b"bits".to_vec(),
            user: Some(UserMetadata::new("digits", package.manifest().fingerprint)),
            interface: Some("862c7020a250293e32036f19956669e5".parse().unwrap()),
        };
        Self { dir, builder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self) -> Xclbin {
        let xclbin = self.builder.build().unwrap();
        fs::write(self.path().join("f.xclbin"), xclbin.to_bytes()).unwrap();
        xclbin
    }

    fn verify(&self) -> Run {
        run!(self.path(), "bitstream", "verify", "f.xclbin", "pkg", "--json")
    }

    /// The file is another's: exit code 1, and these words.
    #[track_caller]
    fn differs(&self, words: &[&str]) {
        self.write();
        let run = self.verify();
        assert_eq!(run.code, 1, "{}\n{}", run.stdout, run.stderr);
        let json = run.json();
        assert_eq!((&json["ok"], &json["fits"]), (&json!(false), &json!(false)));
        let said = json["differences"].to_string();
        assert!(words.iter().all(|w| said.contains(w)), "{words:?}: {said}");
        let run = run!(self.path(), "bitstream", "verify", "f.xclbin", "pkg");
        assert_eq!((run.code, run.stdout.contains("\nFAILED: ")), (1, true), "{}", run.stdout);
    }
}

#[test]
fn bitstream_inspect_shows_what_a_host_needs() {
    let bed = Bed::new();
    let xclbin = bed.write();
    let kernel = &bed.builder.kernels[0].name;
    let text = run!(bed.path(), "bitstream", "inspect", "f.xclbin").ok().stdout;
    let uuid = xclbin.header().uuid().to_string();
    let fingerprint = bed.builder.user.as_ref().unwrap().fingerprint.to_string();
    for word in [
        uuid.as_str(),
        kernel,
        &fingerprint,
        "862c7020-a250-293e-3203-6f19956669e5",
        "0x1810000",
        "ap_ctrl_chain",
        "HBM[0]",
        "DATA_CLK",
        "EMBEDDED_METADATA",
    ] {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
    let json = run!(bed.path(), "bitstream", "inspect", "f.xclbin", "--json").ok().json();
    assert_eq!(json["warnings"], json!([]));
    let design = &json["design"];
    assert_eq!(
        (&json["uuid"], &json["loadable"], &json["aws_image"]),
        (&json!(uuid), &json!(true), &json!(null))
    );
    assert_eq!((&design["package"], &design["kernel_abi"]), (&json!("digits"), &json!(1)));
    let arguments = design["kernels"][0]["arguments"].as_array().unwrap();
    let offsets: Vec<_> = arguments.iter().map(|a| a["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [0x10, 0x1c, 0x28]);
    assert_eq!(design["kernels"][0]["compute_units"][1]["name"], "two");
    assert_eq!(design["memories"][0]["size_kib"], 1 << 18);
    assert_eq!(json["build_metadata"]["build_metadata"]["xclbin"]["generated_by"]["name"], "hypersonic");
}

#[test]
fn bitstream_of_aws_has_an_image_and_no_shell() {
    let bed = Bed::new();
    let (header, mut sections) = bed.write().into_parts();
    sections.retain(|s| s.kind() != SectionKind::PARTITION_METADATA);
    sections[0] = Section::new(SectionKind::BITSTREAM, "image", IMAGE.into()).unwrap();
    fs::write(bed.path().join("f.xclbin"), Xclbin::new(header, sections).to_bytes()).unwrap();
    let json = run!(bed.path(), "bitstream", "inspect", "f.xclbin", "--json").ok().json();
    assert_eq!((&json["aws_image"], &json["design"]["interfaces"]), (&json!(IMAGE), &json!([])));
    assert_eq!(bed.verify().ok().json()["fits"], true);
}

#[test]
fn bitstream_verify_tells_a_packages_own_from_anothers() {
    let mut bed = Bed::new();
    bed.write();
    let json = bed.verify().ok().json();
    assert_eq!((&json["fits"], &json["fingerprint_compared"]), (&json!(true), &json!(true)));
    let good = bed.builder.clone();
    let kernel = good.kernels[0].name.clone();

    bed.builder.user.as_mut().unwrap().fingerprint.0[31] ^= 1;
    bed.differs(&["fingerprint", "digits"]);
    bed.builder = good.clone();
    bed.builder.user.as_mut().unwrap().kernel_abi = 2;
    bed.differs(&["kernel ABI", "version 2", "version 1"]);
    bed.builder = good.clone();
    bed.builder.kernels[0].name = "other_kernel".to_owned();
    bed.differs(&["other_kernel", &kernel]);
    bed.builder = good.clone();
    bed.builder.kernels[0].arguments.swap(1, 2);
    bed.differs(&["with id 2", "with id 1"]);
    bed.builder = good.clone();
    bed.builder.kernels[0].arguments.push(ArgumentSpec::Uint { name: "more".to_owned() });
    bed.differs(&["arguments of", "more"]);

    // A file that says nothing of its package fits by its kernel alone.
    bed.builder = good;
    bed.builder.user = None;
    bed.write();
    let json = bed.verify().ok().json();
    assert_eq!((&json["fits"], &json["fingerprint_compared"]), (&json!(true), &json!(false)));
}

#[test]
fn bitstream_that_is_damaged_is_refused() {
    let bed = Bed::new();
    let xclbin = bed.write();
    let bytes = xclbin.to_bytes();
    let file = bed.path().join("f.xclbin");
    let before = listing(bed.path());
    let refused = |words: &[&str]| {
        for args in [&["inspect", "f.xclbin"][..], &["verify", "f.xclbin", "pkg"]] {
            let run = crate::hypersonic(bed.path(), &[&["bitstream"], args].concat());
            assert_eq!((run.code, run.stdout.as_str()), (3, ""), "{}", run.stderr);
            assert!(run.stderr.starts_with("error: f.xclbin: "), "{}", run.stderr);
            assert!(words.iter().all(|w| run.stderr.contains(w)), "{words:?}: {}", run.stderr);
        }
    };
    fs::write(&file, &bytes[..300]).unwrap();
    refused(&["byte 296", "4 are left"]);
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    refused(&["byte 304", "cut off"]);
    fs::write(&file, "not a bitstream").unwrap();
    refused(&["byte 0", "no xclbin"]);
    fs::remove_file(&file).unwrap();
    refused(&["No such file"]);

    // The container holds, what is in it does not: shown with a warning, but not verified.
    let (header, mut sections) = xclbin.into_parts();
    sections.retain(|s| s.kind() != SectionKind::IP_LAYOUT);
    fs::write(&file, Xclbin::new(header, sections).to_bytes()).unwrap();
    let run = run!(bed.path(), "bitstream", "inspect", "f.xclbin").ok();
    assert!(
        run.stderr.contains("no section IP_LAYOUT") && run.stderr.contains("do not load it"),
        "{}",
        run.stderr
    );
    let run = run!(bed.path(), "bitstream", "verify", "f.xclbin", "pkg");
    assert_eq!((run.code, run.stderr.contains("no section IP_LAYOUT")), (3, true), "{}", run.stderr);
    assert_eq!(listing(bed.path()), before);
}

#[test]
fn bitstream_verify_wants_a_whole_package() {
    let bed = Bed::new();
    bed.write();
    let run = run!(bed.path(), "bitstream", "verify", "f.xclbin", "nowhere");
    assert_eq!((run.code, run.stderr.contains("is no package")), (2, true), "{}", run.stderr);
    let some = fs::read_dir(bed.path().join("pkg/host")).unwrap().next().unwrap().unwrap().path();
    let some = if some.is_dir() { bed.path().join("pkg/program.hw") } else { some };
    fs::write(&some, "changed").unwrap();
    assert_eq!(bed.verify().code, 3);
}
