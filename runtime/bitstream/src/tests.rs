use std::{
    fs,
    path::{Path, PathBuf},
};

use hs_hw::Fingerprint;
use hs_xclbin::{
    ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol, Section,
    SectionKind, UserMetadata, Uuid, Xclbin,
};
use serde_json::json;

use crate::{
    AwsImage, Bitstream, Digest, Files, Location, Manifest, ManifestError, Origin, Refusal, Registry,
    RegistryError, Shell, Target, Timestamp, Wanted,
};

const PLATFORM: &str = "xilinx_u55c_gen3x16_xdma_3_202210_1";
const INTERFACE: &str = "862c7020-a250-293e-3203-6f19956669e5";
const AGFI: &str = "agfi-0123456789abcdef0";

fn fingerprint() -> Fingerprint {
    Fingerprint([7; 32])
}

fn builder() -> Builder {
    let pointer = |name: &str| ArgumentSpec::Pointer { name: name.to_owned() };
    let rows = ArgumentSpec::Uint { name: "rows".to_owned() };
    let unit = |name: &str| ComputeUnitSpec { name: name.to_owned(), banks: vec![0, 0] };
    let memory =
        Memory { kind: MemoryKind::HBM, used: true, size_kib: 1 << 18, base: 0, tag: "HBM[0]".to_owned() };
    Builder {
        platform: PLATFORM.to_owned(),
        mode: Mode::FLAT,
        memories: vec![memory],
        kernels: vec![KernelSpec {
            name: "net_kernel".to_owned(),
            arguments: vec![pointer("x"), pointer("y"), rows],
            compute_units: vec![unit("one"), unit("two")],
        }],
        protocol: Protocol::Chain,
        clock_mhz: 300,
        bitstream: b"bits".to_vec(),
        user: Some(UserMetadata::new("net", fingerprint())),
        interface: Some(INTERFACE.parse().unwrap()),
    }
}

fn package() -> hs_package::Manifest {
    let port = |name: &str| {
        json!({
            "name": name, "onnx_shape": [4], "perm": [0], "type": "fixed<16,6,RND,SAT>", "element_bytes": 2,
            "row_bytes": 8, "row_stride": 8,
        })
    };
    let kernel = json!({
        "name": "net_kernel", "inputs": ["x"], "outputs": ["y"], "rows": "rows", "weights": null, "part": "p",
        "platform": PLATFORM, "clock_mhz": 300, "compute_units": 2,
    });
    let schedule = hs_hw::Schedule { io: hs_hw::Io::Stream, layers: Vec::new(), fifos: Vec::new() };
    serde_json::from_value(json!({
        "format": "hypersonic-package", "format_version": 2, "producer": "test", "kernel_abi": hs_hw::KERNEL_ABI,
        "model": "net", "source_sha256": null, "fingerprint": fingerprint(), "arithmetic": "native",
        "inputs": [port("x")], "outputs": [port("y")], "schedule": schedule, "kernel": kernel, "files": [],
    }))
    .unwrap()
}

fn origin(second: u64) -> Origin {
    Origin { creator: "a test".to_owned(), created: Timestamp::of_unix(second), image: (None, None) }
}

/// A registry in a folder, and bitstreams beside it.
struct Bed {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(Location::Folder(dir.path().join("registry"))).unwrap();
        Self { dir, registry }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("registry")
    }

    fn write(&self, builder: &Builder) -> (PathBuf, Bitstream) {
        let path = self.dir.path().join("f.xclbin");
        fs::write(&path, builder.build().unwrap().to_bytes()).unwrap();
        let bitstream = Bitstream::read(&path).unwrap();
        (path, bitstream)
    }

    fn add(&self, name: &str, builder: &Builder, second: u64) -> Manifest {
        let (path, bitstream) = self.write(builder);
        let manifest = Manifest::new(name.parse().unwrap(), &bitstream, fingerprint(), origin(second));
        self.registry.add(&manifest, &Files { bitstream: &path, golden: None }, false).unwrap();
        manifest
    }

    fn names(&self, wanted: &Wanted<'_>) -> Vec<String> {
        self.registry.find(wanted).unwrap().manifests.iter().map(|m| m.name.to_string()).collect()
    }
}

fn wanted(shell: Option<&Shell>) -> Wanted<'_> {
    Wanted { fingerprint: fingerprint(), target: Target::Hw, shell }
}

fn shell(interface: &str) -> Shell {
    Shell {
        card: "0000:3b:00.1".to_owned(),
        platform: Some(PLATFORM.to_owned()),
        interfaces: vec![interface.parse().unwrap()],
    }
}

/// As AWS' flow makes it: the image's name for the bits, and no shell.
fn aws(builder: &Builder) -> Xclbin {
    let (header, mut sections) = builder.build().unwrap().into_parts();
    sections.retain(|s| s.kind() != SectionKind::PARTITION_METADATA);
    sections[0] = Section::new(SectionKind::BITSTREAM, "image", AGFI.into()).unwrap();
    Xclbin::new(header, sections)
}

#[test]
fn a_manifest_reads_as_it_was_written() {
    let bed = Bed::new();
    let (_, bitstream) = bed.write(&builder());
    let plain = Manifest::new("net".parse().unwrap(), &bitstream, fingerprint(), origin(0));
    assert_eq!(plain.kernels[0].compute_units, ["one", "two"]);
    assert_eq!((plain.clock_mhz, plain.target), (Some(300), Target::Hw));
    let image = Bitstream::of(Path::new("f.awsxclbin"), &aws(&builder()).to_bytes()).unwrap();
    let afi = "afi-0f1e2d3c4b5a69788";
    let full = Origin { image: (Some(afi.to_owned()), Some("us-east-1".to_owned())), ..origin(1) };
    let full = Manifest::new("net-2.v1".parse().unwrap(), &image, fingerprint(), full);
    let named = AwsImage {
        agfi: AGFI.parse().unwrap(),
        afi: Some(afi.to_owned()),
        region: Some("us-east-1".to_owned()),
    };
    assert_eq!((full.aws.as_ref(), full.interfaces.len()), (Some(&named), 0));
    let text = full.to_toml().unwrap().replace(afi, "afi-../x");
    assert!(Manifest::parse(&text).unwrap_err().to_string().contains("aws.afi"), "{text}");
    for manifest in [plain, full.with_golden(Digest::of(b"golden"), 6)] {
        let text = manifest.to_toml().unwrap();
        assert_eq!(Manifest::parse(&text).as_ref(), Ok(&manifest), "{text}");
        assert_eq!(Manifest::parse(&text).unwrap().to_toml().unwrap(), text);
    }
}

#[test]
fn hostile_manifests_are_refused() {
    let bed = Bed::new();
    let (_, bitstream) = bed.write(&builder());
    let good = Manifest::new("net".parse().unwrap(), &bitstream, fingerprint(), origin(0)).to_toml().unwrap();
    let file = format!("net-{}.xclbin", &bitstream.sha256().to_string()[..12]);
    let refused = |from: &str, to: &str, words: &[&str]| {
        assert!(good.contains(from), "'{from}' is not in:\n{good}");
        let error = Manifest::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{words:?}: {error}");
    };
    for name in
        ["../net.xclbin", "/etc/passwd", "..", "a/b", "-rf", ".hidden", "", "a\\u0000b", "C:\\\\x", "é"]
    {
        refused(&format!("\"{file}\""), &format!("\"{name}\""), &["is not a name of"]);
    }
    refused("name = \"net\"", "name = \"../net\"", &["is not a name of", "../net"]);
    refused("\"hypersonic-bitstream\"", "\"other\"", &["`format` is \"other\"", "hypersonic-bitstream"]);
    refused("format_version = 1", "format_version = 2", &["`format_version` is 2", "reads 1"]);
    refused("platform =", "plattform =", &["plattform"]);
    refused("creator =", "more = 1\ncreator =", &["more"]);
    refused("1970-01-01T00:00:00Z", "yesterday", &["yesterday", "2026-01-31T12:00:00Z"]);
    refused(&bitstream.sha256().to_string(), "00", &["'00' is not a SHA-256"]);
    refused(&fingerprint().to_string(), "00", &["fingerprint"]);
    refused(INTERFACE, "none", &["'none' is not a UUID"]);
    refused("bytes = ", "bytes = -", &["bytes"]);
    let error = Manifest::parse("\u{1}[").unwrap_err();
    assert!(matches!(error, ManifestError::Toml(_)), "{error}");
    let error = Manifest::parse(&format!("{good}#{}", "x".repeat(1 << 16))).unwrap_err();
    assert!(matches!(error, ManifestError::Size(_)), "{error}");
    let deep = format!("format = {}", "[".repeat(30_000));
    assert!(matches!(Manifest::parse(&deep), Err(ManifestError::Toml(_))));
}

#[test]
fn what_is_added_is_found_and_fetched() {
    let bed = Bed::new();
    assert_eq!(bed.registry.list().unwrap().manifests, []);
    let first = bed.add("first", &builder(), 10);
    let other = Builder { clock_mhz: 250, ..builder() };
    bed.add("second", &other, 20);
    let emulated = Builder { mode: Mode::SW_EMU, interface: None, ..builder() };
    bed.add("emulated", &emulated, 30);
    let here = shell(INTERFACE);
    assert_eq!(bed.names(&wanted(Some(&here))), ["second", "first"]);
    assert_eq!(bed.names(&Wanted { target: Target::SwEmu, ..wanted(None) }), ["emulated"]);
    assert_eq!(bed.names(&wanted(Some(&shell(&INTERFACE.replace('8', "9"))))), [""; 0]);
    assert_eq!(bed.names(&Wanted { fingerprint: Fingerprint([8; 32]), ..wanted(None) }), [""; 0]);

    let (fetched, bitstream) = bed.registry.open(&first).unwrap();
    assert_eq!(fetched.bitstream.parent(), Some(bed.folder().as_path()));
    bitstream.check_package(&package()).unwrap();
    first.check_package(&package()).unwrap();
    bitstream.check_shell(&here).unwrap();
    // Nothing but files and manifests is left.
    let names: Vec<_> = fs::read_dir(bed.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 6, "{names:?}");

    let file = fetched.bitstream;
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = bed.registry.fetch(&first).unwrap_err().to_string();
    assert!(error.contains(&first.file.sha256.to_string()) && error.contains("was changed"), "{error}");
    fs::remove_file(&file).unwrap();
    let error = bed.registry.fetch(&first).unwrap_err();
    assert!(matches!(error, RegistryError::Io { .. }), "{error}");
}

#[test]
fn a_name_is_given_once_unless_it_is_replaced() {
    let bed = Bed::new();
    let first = bed.add("net", &builder(), 10);
    // The same again, at another time: nothing changes.
    bed.add("net", &builder(), 20);
    assert_eq!(bed.registry.list().unwrap().manifests, [first]);
    let (path, bitstream) = bed.write(&Builder { clock_mhz: 250, ..builder() });
    let other = Manifest::new("net".parse().unwrap(), &bitstream, fingerprint(), origin(30));
    let files = Files { bitstream: &path, golden: None };
    let error = bed.registry.add(&other, &files, false).unwrap_err();
    assert!(matches!(error, RegistryError::Taken { .. }), "{error}");
    bed.registry.add(&other, &files, true).unwrap();
    assert_eq!(bed.registry.list().unwrap().manifests, [other]);
}

#[test]
fn golden_vectors_go_with_the_bitstream() {
    let bed = Bed::new();
    let (path, bitstream) = bed.write(&builder());
    let golden = bed.dir.path().join("golden.npz");
    fs::write(&golden, "golden").unwrap();
    let manifest = Manifest::new("net".parse().unwrap(), &bitstream, fingerprint(), origin(0));
    let manifest = manifest.with_golden(Digest::of(b"golden"), 6);
    let files = Files { bitstream: &path, golden: Some(&golden) };
    bed.registry.add(&manifest, &files, false).unwrap();
    let fetched = bed.registry.fetch(&manifest).unwrap();
    assert_eq!(fs::read(fetched.golden.unwrap()).unwrap(), b"golden");
    // What is not as described is not added.
    fs::write(&golden, "gilded").unwrap();
    let error = bed.registry.add(&manifest, &files, true).unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
}

#[test]
fn one_bad_manifest_hides_no_other() {
    let bed = Bed::new();
    let net = bed.add("net", &builder(), 0);
    let folder = bed.folder();
    fs::write(folder.join("bad.toml"), "= nonsense").unwrap();
    fs::write(folder.join("bytes.toml"), [0xff, 0xfe]).unwrap();
    fs::write(folder.join("large.toml"), vec![b'#'; 1 << 20]).unwrap();
    fs::write(folder.join("renamed.toml"), net.to_toml().unwrap()).unwrap();
    fs::write(folder.join(".new-abc.toml"), "half").unwrap();
    fs::write(folder.join("notes.md"), "not ours").unwrap();
    fs::create_dir(folder.join("folder.toml")).unwrap();
    let listing = bed.registry.list().unwrap();
    assert_eq!(listing.manifests, [net]);
    let said: Vec<_> = listing.unreadable.iter().map(|u| (u.file.as_str(), u.error.as_str())).collect();
    let words = [
        ("bad.toml", "TOML"),
        ("bytes.toml", "no text"),
        ("folder.toml", "no file"),
        ("large.toml", "1048576 bytes"),
        ("renamed.toml", "net.toml"),
    ];
    assert_eq!(said.len(), words.len(), "{said:?}");
    for ((file, error), (expected, word)) in said.iter().zip(words) {
        assert!(*file == expected && error.contains(word), "{file}: {error}");
    }
}

#[test]
fn what_does_not_fit_is_refused_plainly() {
    let bed = Bed::new();
    let package = package();
    let refused = |builder: &Builder, words: &[&str]| {
        let error = bed.write(builder).1.check_package(&package).unwrap_err();
        let text = error.to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{words:?}: {text}");
        error
    };
    let other = Builder { user: Some(UserMetadata::new("other", Fingerprint([8; 32]))), ..builder() };
    let error = refused(&other, &[&"08".repeat(32), &"07".repeat(32), "another model"]);
    assert!(matches!(error, Refusal::Fingerprint { .. }), "{error}");
    let mut abi = builder();
    abi.user.as_mut().unwrap().kernel_abi = 9;
    let error = refused(&abi, &["version 9 of the kernel ABI", "expected 1"]);
    assert!(matches!(error, Refusal::KernelAbi { .. }), "{error}");
    let mut named = builder();
    named.kernels[0].name = "other_kernel".to_owned();
    assert!(matches!(refused(&named, &["other_kernel", "net_kernel"]), Refusal::Kernel { .. }));
    // A file that says nothing of its package fits by its kernel.
    bed.write(&Builder { user: None, ..builder() }).1.check_package(&package).unwrap();

    let bitstream = bed.write(&builder()).1;
    let elsewhere = shell("00000000-0000-0000-0000-000000000001");
    let error = bitstream.check_shell(&elsewhere).unwrap_err().to_string();
    for word in [INTERFACE, "00000000-0000-0000-0000-000000000001", "0000:3b:00.1", PLATFORM] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // What is not known of the card refuses nothing.
    let unknown = Shell { interfaces: Vec::new(), platform: Some("a_base".to_owned()), ..shell(INTERFACE) };
    bitstream.check_shell(&unknown).unwrap();
    // A file without an interface is for the shell of a name.
    let single = bed.write(&Builder { interface: None, ..builder() }).1;
    let error = single.check_shell(&unknown).unwrap_err();
    assert!(matches!(error, Refusal::Platform { .. }) && error.to_string().contains("a_base"), "{error}");
    single.check_shell(&Shell { platform: Some(PLATFORM.replacen('_', ":", 2)), ..unknown.clone() }).unwrap();
    single.check_shell(&Shell::default()).unwrap();

    // AWS' images fit AWS' cards, whatever these say.
    let image = Bitstream::of(Path::new("f.awsxclbin"), &aws(&builder()).to_bytes()).unwrap();
    image.check_package(&package).unwrap();
    image.check_shell(&unknown).unwrap();
    image.check_shell(&elsewhere).unwrap();
}

#[test]
fn a_manifest_that_lies_of_its_file_is_refused() {
    let bed = Bed::new();
    let (path, bitstream) = bed.write(&builder());
    let name = || "net".parse().unwrap();
    let lie = Manifest::new(name(), &bitstream, Fingerprint([8; 32]), origin(0));
    bed.registry.add(&lie, &Files { bitstream: &path, golden: None }, false).unwrap();
    let error = bed.registry.open(&lie).unwrap_err().to_string();
    assert!(error.contains("net.toml") && error.contains("fingerprint"), "{error}");
    let error = lie.check_package(&package()).unwrap_err().to_string();
    assert!(error.contains("net.toml") && error.contains(&"08".repeat(32)), "{error}");
    let abi = lie.to_toml().unwrap().replace("kernel_abi = 1", "kernel_abi = 5");
    let abi = abi.replace(&"08".repeat(32), &fingerprint().to_string());
    let abi = Manifest::parse(&abi).unwrap();
    assert!(matches!(abi.check_package(&package()), Err(Refusal::KernelAbi { found: 5, expected: 1, .. })));
    assert!(matches!(abi.check(&bitstream), Err(Refusal::KernelAbi { .. })));
    let honest = Manifest::new(name(), &bitstream, fingerprint(), origin(0));
    let other = bed.write(&Builder { clock_mhz: 200, ..builder() }).1;
    assert!(matches!(honest.check(&other), Err(Refusal::Digest { .. })));
    honest.check(&bitstream).unwrap();
}

#[test]
fn truncated_files_are_refused() {
    let bytes = builder().build().unwrap().to_bytes();
    let error = Bitstream::of(Path::new("f.xclbin"), &bytes[..300]).unwrap_err().to_string();
    assert!(error.starts_with("f.xclbin: ") && error.contains("are left"), "{error}");
    let error = Bitstream::read(Path::new("nowhere/f.xclbin")).unwrap_err();
    assert!(matches!(error, Refusal::Io { .. }), "{error}");
}

#[test]
fn locations() {
    let s3 =
        |bucket: &str, prefix: &str| Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
    for (text, expected) in [
        ("folder/of mine", Location::Folder("folder/of mine".into())),
        ("s3://bucket", s3("bucket", "")),
        ("s3://bucket/", s3("bucket", "")),
        ("s3://bucket/a/b/", s3("bucket", "a/b")),
    ] {
        let location: Location = text.parse().unwrap();
        assert_eq!(location, expected);
        assert_eq!(location.to_string(), text.trim_end_matches('/'));
    }
    for bad in [
        "",
        "s3://",
        "s3://B",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "s3://bucket/*",
        "https://x/y",
        "s3:///x",
    ] {
        assert!(bad.parse::<Location>().is_err(), "{bad}");
    }
    let of = |all: &'static [(&str, &str)]| {
        Location::of_variables(|name| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    };
    let folder = |path: &str| Location::Folder(path.into());
    assert_eq!(of(&[("HOME", "/h")]).unwrap(), folder("/h/.local/share/hypersonic/bitstreams"));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]).unwrap(), folder("/d/hypersonic/bitstreams"));
    assert_eq!(of(&[("HOME", "/h"), ("HYPERSONIC_REGISTRY", "s3://bucket/x")]).unwrap(), s3("bucket", "x"));
    assert!(matches!(of(&[("HOME", "relative")]), Err(RegistryError::Nowhere)));
}

#[test]
fn the_example_of_the_repository_is_a_manifest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bitstreams");
    let listing = Registry::new(Location::Folder(folder)).unwrap().list().unwrap();
    assert_eq!(listing.unreadable.len(), 0, "{:?}", listing.unreadable);
    let example = listing.manifests.iter().find(|m| m.name.as_str() == "example").expect("example.toml");
    let interface: Uuid = INTERFACE.parse().unwrap();
    assert_eq!((example.platform.as_str(), example.interfaces.as_slice()), (PLATFORM, &[interface][..]));
}

#[test]
fn words_are_quoted_for_a_shell() {
    let words = ["v++", "a b", "it's", ""].map(str::to_owned);
    assert_eq!(crate::typed(&words), r"v++ 'a b' 'it'\''s' ''");
}

#[test]
fn of_bitstreams_that_are_added_at_once_one_gets_the_name() {
    let bed = Bed::new();
    let added: usize = std::thread::scope(|scope| {
        let add = |i: u16| {
            let bed = &bed;
            move || {
                let path = bed.dir.path().join(format!("{i}.xclbin"));
                fs::write(&path, Builder { clock_mhz: i, ..builder() }.build().unwrap().to_bytes()).unwrap();
                let bitstream = Bitstream::read(&path).unwrap();
                let manifest = Manifest::new("net".parse().unwrap(), &bitstream, fingerprint(), origin(0));
                bed.registry.add(&manifest, &Files { bitstream: &path, golden: None }, false).is_ok()
            }
        };
        let all: Vec<_> = (100..108).map(|i| scope.spawn(add(i))).collect();
        all.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
    });
    let listing = bed.registry.list().unwrap();
    assert_eq!((added, listing.manifests.len(), listing.unreadable.len()), (1, 1, 0));
    bed.registry.open(&listing.manifests[0]).unwrap();
}

#[test]
fn files_of_s3_are_cached_and_checked() {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = Bed::new();
    let (fake, program) = (bed.dir.path().join("fake"), bed.dir.path().join("aws"));
    fs::create_dir(&fake).unwrap();
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/aws/aws");
    let script = format!("#!/bin/sh\nFAKE_AWS='{}' exec '{}' \"$@\"\n", fake.display(), stand_in.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let location = "s3://bucket/prefix".parse().unwrap();
    let cache = bed.dir.path().join("cache");
    let registry = Registry::with(location, cache.clone(), crate::Aws::new(&program));
    let (path, bitstream) = bed.write(&builder());
    let manifest = Manifest::new("net".parse().unwrap(), &bitstream, fingerprint(), origin(0));
    registry.add(&manifest, &Files { bitstream: &path, golden: None }, false).unwrap();
    assert_eq!(
        registry.find(&wanted(Some(&shell(INTERFACE)))).unwrap().manifests,
        std::slice::from_ref(&manifest)
    );

    let calls = || fs::read_to_string(fake.join("calls")).unwrap().lines().count();
    let (fetched, _) = registry.open(&manifest).unwrap();
    assert!(fetched.bitstream.starts_with(&cache), "{fetched:?}");
    let before = calls();
    registry.open(&manifest).unwrap();
    assert_eq!(calls(), before, "what is in the cache is not fetched again");
    fs::write(&fetched.bitstream, "damaged").unwrap();
    registry.open(&manifest).unwrap();
    assert_eq!(calls(), before + 1);
    // The bucket's own copy is damaged: nothing of it is kept.
    fs::write(&fetched.bitstream, "damaged").unwrap();
    fs::write(fake.join("s3/bucket/prefix").join(manifest.file.name.as_str()), "damaged too").unwrap();
    let error = registry.open(&manifest).unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    fs::remove_file(fake.join("s3/bucket/prefix").join(manifest.file.name.as_str())).unwrap();
    let error = registry.open(&manifest).unwrap_err().to_string();
    assert!(error.contains("aws s3 cp") && error.contains("404"), "{error}");
    let other = bed.write(&Builder { clock_mhz: 200, ..builder() });
    let other_manifest = Manifest::new("net".parse().unwrap(), &other.1, fingerprint(), origin(0));
    let error =
        registry.add(&other_manifest, &Files { bitstream: &other.0, golden: None }, false).unwrap_err();
    assert!(matches!(error, RegistryError::Taken { .. }), "{error}");
    let missing = Registry::with("s3://bucket".parse().unwrap(), cache, crate::Aws::new("no-such-program"));
    assert!(matches!(missing.list(), Err(RegistryError::Aws(crate::AwsError::Missing(_)))));
}
