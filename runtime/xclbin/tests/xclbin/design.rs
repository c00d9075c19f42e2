//! What sections say, alone and together.

use hs_hw::Fingerprint;
use hs_xclbin::{
    Clock, ClockKind, Connection, Design, EmbeddedMetadata, Expected, Header, Ip, IpKind, Memory, MemoryKind,
    Mode, PartitionMetadata, PortMode, Protocol, Role, Section, SectionKind, UserMetadata, Version, Xclbin,
    XclbinError,
};

use crate::{builder, file};

fn design() -> Design {
    Design::of(&Xclbin::parse(&file()).unwrap()).unwrap()
}

#[test]
fn a_built_file_says_what_it_was_built_of() {
    let d = design();
    let kernel = d.kernel("jets_kernel").unwrap();
    let found: Vec<_> = kernel
        .arguments
        .iter()
        .map(|a| (a.name.as_str(), a.id, a.role, a.offset, a.size, a.ctype.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("a", Some(0), Role::Pointer, 0x10, 8, "void*"),
            ("b", Some(1), Role::Pointer, 0x1c, 8, "void*"),
            ("y", Some(2), Role::Pointer, 0x28, 8, "void*"),
            ("rows", Some(3), Role::Scalar, 0x34, 4, "uint"),
            ("weights", Some(4), Role::Pointer, 0x3c, 8, "void*"),
        ]
    );
    assert_eq!(kernel.argument("weights"), kernel.arguments.last());
    let units = &kernel.compute_units;
    assert_eq!(
        units.iter().map(|u| (u.name.as_str(), u.base, u.interrupt, u.protocol)).collect::<Vec<_>>(),
        [
            ("jets_kernel_1", Some(0x180_0000), Some(0), Protocol::Hs),
            ("jets_kernel_2", Some(0x181_0000), Some(1), Protocol::Hs),
        ]
    );
    assert_eq!(units[1].banks, [(0, 1), (1, 1), (2, 1), (4, 2)]);
    assert_eq!((units[1].banks_of(4).collect::<Vec<_>>(), units[1].banks_of(3).count()), (vec![2], 0));
    assert_eq!(d.memories.iter().map(|m| m.used).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(d.clocks, [Clock { mhz: 300, kind: ClockKind::DATA, name: "DATA_CLK".to_owned() }]);
    assert_eq!(d.interfaces, [builder().interface.unwrap()]);
    assert_eq!(d.user, Some(UserMetadata::new("jets", Fingerprint([7; 32]))));
    assert_eq!(d.platform, builder().platform);
}

#[test]
fn tables_have_the_formats_layout() {
    let memory = Memory {
        kind: MemoryKind::HBM,
        used: true,
        size_kib: 0x4_0000,
        base: 0x1000_0000,
        tag: "HBM[1]".into(),
    };
    let bytes = Memory::write(std::slice::from_ref(&memory)).unwrap();
    let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 0, 0, 0, 0];
    expected.extend([0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0]);
    expected.extend(b"HBM[1]\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes, expected);
    assert_eq!(Memory::read(SectionKind::MEM_TOPOLOGY, &bytes), Ok(vec![memory]));

    let connection = Connection { argument: 2, ip: 1, memory: 3 };
    let bytes = Connection::write(&[connection]);
    assert_eq!(bytes, [1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(Connection::read(SectionKind::CONNECTIVITY, &bytes), Ok(vec![connection]));

    let ip = Ip::kernel("k:k_1".into(), 0x180_0000, 5, Protocol::Chain);
    let bytes = Ip::write(std::slice::from_ref(&ip)).unwrap();
    assert_eq!(
        (bytes.len(), &bytes[..16]),
        (88, [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 11, 1, 0, 0].as_slice())
    );
    assert_eq!(bytes[16..30], *b"\0\0\x80\x01\0\0\0\0k:k_1\0");
    assert_eq!(Ip::read(&bytes), Ok(vec![ip.clone()]));
    assert_eq!((ip.interrupt(), ip.protocol(), ip.kind), (Some(5), Protocol::Chain, IpKind::KERNEL));

    let clock = Clock { mhz: 500, kind: ClockKind::KERNEL, name: "KERNEL_CLK".into() };
    let bytes = Clock::write(std::slice::from_ref(&clock)).unwrap();
    assert_eq!((bytes.len(), &bytes[..20]), (138, b"\x01\0\xf4\x01\x02\0\0\0\0\0KERNEL_CLK".as_slice()));
    assert_eq!(Clock::read(&bytes), Ok(vec![clock]));
}

/// As the vendor's tools write it: attributes in another order, more of them, entities, an argument without id.
const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE project>
<!-- <kernel name="not me"/> -->
<project name="demo"><kernel name="nor me"/><platform vendor="xilinx" boardid="u250" name="xdma">
<device name="fpga0"><core name="OCL_REGION_0" target="bitstream">
<kernel language="c" name="k&lt;2&gt;" attributes="">
  <port mode="slave" name="S_AXI_CONTROL" range="0x1000" dataWidth="32" portType="addressable" base="0x0"/>
  <port name='M_AXI_GMEM' mode="master" range="0xFFFFFFFFFFFFFFFF" dataWidth="512"></port>
  <port name="S" mode="read_only" dataWidth="64"/>
  <arg name="n" addressQualifier="0" id="1" port="S_AXI_CONTROL" size="0x4" offset="28" hostSize="0x4" type="uint"/>
  <arg name="x" addressQualifier="1" id="0" port="M_AXI_GMEM" size="0x8" offset="0x10" hostSize="0x8" type="int*"/>
  <arg name="s" addressQualifier="4" id="2" port="S" size="0x8" offset="0x0" hostSize="0x8" type="stream"/>
  <arg name="__printf" addressQualifier="1" id="" port="M_AXI_GMEM" size="0x8" offset="0x34"/>
  <instance name="k_1"><addrRemap base="0x1800000" range="0x10000" port="S_AXI_CONTROL"/></instance>
  <instance name="k_2"/>
</kernel></core></device></platform></project>
"#;

#[test]
fn metadata_of_other_tools() {
    let m = EmbeddedMetadata::read(&[XML.as_bytes(), b"\0"].concat()).unwrap();
    let [k] = m.kernels.as_slice() else { panic!("{m:?}") };
    assert_eq!(k.name, "k<2>");
    assert_eq!(
        k.ports.iter().map(|p| p.mode).collect::<Vec<_>>(),
        [PortMode::Slave, PortMode::Master, PortMode::Other]
    );
    assert_eq!((k.ports[1].range, k.ports[1].data_width), (u64::MAX, 512));
    let arguments: Vec<_> = k.arguments.iter().map(|a| (a.name.as_str(), a.id, a.role, a.offset)).collect();
    assert_eq!(
        arguments,
        [
            ("n", Some(1), Role::Scalar, 28),
            ("x", Some(0), Role::Pointer, 16),
            ("s", Some(2), Role::Stream, 0),
            ("__printf", None, Role::Pointer, 52),
        ]
    );
    assert_eq!(k.instances.iter().map(|i| i.base).collect::<Vec<_>>(), [Some(0x180_0000), None]);
}

#[test]
fn metadata_that_is_broken() {
    for (from, to, words) in [
        ("</project>", "", ["byte", "'project'"]),
        ("</core>", "</cord>", ["core", "cord"]),
        ("offset=\"28\"", "offset=\"28h\"", ["'offset' of <arg>", "'28h'"]),
        ("name=\"n\" ", "", ["'name' of <arg>", "not there"]),
        ("k&lt;2&gt;", "&huge;", ["'name' of <kernel>", "huge"]),
    ] {
        let broken = XML.replacen(from, to, 1);
        assert_ne!(broken, XML);
        let error = EmbeddedMetadata::read(broken.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("EMBEDDED_METADATA, byte "), "{error}");
        assert!(words.iter().all(|w| error.contains(w)), "{words:?}: {error}");
    }
    let error = EmbeddedMetadata::read(b"<a>\xff</a>").unwrap_err().to_string();
    assert!(error.contains("byte 3") && error.contains("UTF-8"), "{error}");
}

#[test]
fn the_shells_interface_comes_back() {
    let uuid = "862c7020-a250-293e-3203-6f19956669e5".parse().unwrap();
    let both = PartitionMetadata { interfaces: vec![uuid, uuid], logic: Some(uuid) };
    let bytes = both.write();
    assert_eq!(bytes[..8], [0xd0, 0x0d, 0xfe, 0xed, 0, 0, (bytes.len() >> 8) as u8, bytes.len() as u8]);
    assert_eq!(PartitionMetadata::read(&bytes), Ok(both));
    let error = PartitionMetadata::read(b"{\"interfaces\": []}").unwrap_err().to_string();
    assert!(error.contains("PARTITION_METADATA, byte 0") && error.contains("0xd00dfeed"), "{error}");
    let text = [&bytes[..], b"z"].concat();
    let at = text.windows(4).position(|w| w == b"862c").unwrap();
    let mut broken = bytes.clone();
    broken[at] = b'g';
    let error = PartitionMetadata::read(&broken).unwrap_err().to_string();
    assert!(error.contains("logic_uuid is 'g62c"), "{error}");
    for n in 0..bytes.len() {
        assert!(PartitionMetadata::read(&bytes[..n]).is_err(), "{n}");
    }
}

#[test]
fn user_metadata_may_be_anyones() {
    let ours = UserMetadata::new("a\"b", Fingerprint([1; 32]));
    assert_eq!(UserMetadata::read(&ours.write()), Ok(Some(ours)));
    for others in ["", "\u{1}binary", "[1]", "{\"who\": 1}"] {
        assert_eq!(UserMetadata::read(others.as_bytes()), Ok(None), "{others}");
    }
    let error = UserMetadata::read(b"{\"hypersonic\": {\"package\": \"p\"}}").unwrap_err().to_string();
    assert!(error.contains("fingerprint"), "{error}");
}

/// The built file with one section changed, or without it.
fn with(kind: SectionKind, data: Option<Vec<u8>>) -> Xclbin {
    let (header, mut sections) = Xclbin::parse(&file()).unwrap().into_parts();
    let before = sections.iter().position(|s| s.kind() == kind);
    match (before, data.map(|d| Section::new(kind, "changed", d).unwrap())) {
        (Some(i), Some(new)) => sections[i] = new,
        (Some(i), None) => drop(sections.remove(i)),
        (None, new) => sections.extend(new),
    }
    Xclbin::new(header, sections)
}

#[track_caller]
fn refused(kind: SectionKind, data: Vec<u8>, words: &[&str]) {
    let error = Design::of(&with(kind, Some(data))).unwrap_err().to_string();
    assert!(words.iter().all(|w| error.contains(w)), "{words:?}: {error}");
}

#[test]
fn what_cannot_be_loaded_is_refused() {
    for kind in [
        SectionKind::BITSTREAM,
        SectionKind::EMBEDDED_METADATA,
        SectionKind::IP_LAYOUT,
        SectionKind::MEM_TOPOLOGY,
    ] {
        assert_eq!(Design::of(&with(kind, None)), Err(XclbinError::Missing(kind)));
    }
    assert_eq!(
        Design::of(&with(SectionKind::BITSTREAM, Some(Vec::new()))),
        Err(XclbinError::Missing(SectionKind::BITSTREAM))
    );
    // Clocks, connections and what is for people may be missing.
    for kind in
        [SectionKind::CLOCK_FREQ_TOPOLOGY, SectionKind::USER_METADATA, SectionKind::PARTITION_METADATA]
    {
        assert!(Design::of(&with(kind, None)).is_ok(), "{kind}");
    }
    let c = |argument, ip, memory| Connection::write(&[Connection { argument, ip, memory }]);
    let connectivity = SectionKind::CONNECTIVITY;
    refused(connectivity, c(0, 2, 0), &["CONNECTIVITY", "IP 2", "below 2"]);
    refused(connectivity, c(0, 0, 4), &["memory 4", "below 4"]);
    refused(connectivity, c(5, 0, 0), &["argument 5", "below 5"]);
    refused(connectivity, c(0, 0, 3), &["not used"]);
    refused(connectivity, vec![0xff; 4], &["CONNECTIVITY, byte 0", "is -1", "not negative"]);
    refused(
        connectivity,
        vec![0xff, 0xff, 0xff, 0x7f, 0],
        &["byte 4", "takes 25769803764 bytes", "1 are left"],
    );
    refused(
        SectionKind::ASK_GROUP_CONNECTIVITY,
        c(0, 0, 0),
        &["ASK_GROUP_CONNECTIVITY", "memory 0", "below 0"],
    );
    refused(SectionKind::CLOCK_FREQ_TOPOLOGY, vec![0xff, 0xff], &["is -1"]);

    let unit = |name: &str, base| Ip::kernel(name.to_owned(), base, 0, Protocol::Hs);
    let ips = |all: &[Ip]| Ip::write(all).unwrap();
    refused(SectionKind::IP_LAYOUT, ips(&[unit("jets", 0)]), &["'jets'", "KERNEL:UNIT"]);
    refused(SectionKind::IP_LAYOUT, ips(&[unit("jet:a", 0)]), &["'jet'", "EMBEDDED_METADATA"]);
    let one = unit("jets_kernel:jets_kernel_1", 0x180_0000);
    refused(SectionKind::IP_LAYOUT, ips(&[one.clone(), one.clone()]), &["twice"]);
    refused(
        SectionKind::IP_LAYOUT,
        ips(std::slice::from_ref(&one)),
        &["'jets_kernel:jets_kernel_2'", "IP_LAYOUT too"],
    );
    let moved = unit("jets_kernel:jets_kernel_2", 0x190_0000);
    refused(SectionKind::IP_LAYOUT, ips(&[one, moved]), &["0x1810000", "0x1900000"]);

    let xml = String::from_utf8(
        Xclbin::parse(&file()).unwrap().data(SectionKind::EMBEDDED_METADATA).unwrap().to_vec(),
    );
    let xml = xml.unwrap();
    for (from, to, words) in [
        ("id=\"4\"", "id=\"5\"", ["'weights'", "id 5"]),
        ("id=\"4\"", "id=\"3\"", ["'jets_kernel'", "id 3"]),
        ("name=\"b\"", "name=\"a\"", ["'a' twice", "jets_kernel"]),
        ("offset=\"0x1c\"", "offset=\"0x17\"", ["'b'", "0x18"]),
        ("offset=\"0x10\"", "offset=\"0xc\"", ["'a'", "0x10"]),
        ("offset=\"0x3c\"", "offset=\"0xffffffffffffffff\"", ["'weights'", "0xffffffffffffffff"]),
        ("port=\"M_AXI_GMEM1\"", "port=\"GMEM1\"", ["'GMEM1'", "a port of the kernel"]),
    ] {
        let changed = xml.replacen(from, to, 1);
        assert_ne!(changed, xml, "{from}");
        refused(SectionKind::EMBEDDED_METADATA, changed.into_bytes(), &words);
    }
}

#[test]
fn what_is_no_compute_unit_is_left_alone() {
    let controller = Ip { kind: IpKind(3), properties: 0, base: u64::MAX, name: "ddr".into() };
    let mut ips = Ip::read(Xclbin::parse(&file()).unwrap().data(SectionKind::IP_LAYOUT).unwrap()).unwrap();
    ips.push(controller);
    let d = Design::of(&with(SectionKind::IP_LAYOUT, Some(Ip::write(&ips).unwrap()))).unwrap();
    assert_eq!(d.kernels, design().kernels);
}

#[test]
fn a_builder_is_told_what_does_not_go_together() {
    let mut b = builder();
    b.kernels[0].compute_units[1].banks.pop();
    let error = b.build().unwrap_err().to_string();
    assert!(error.contains("'jets_kernel:jets_kernel_2'") && error.contains("4, one a pointer"), "{error}");
    let mut b = builder();
    b.kernels[0].compute_units[1].banks[0] = 4;
    assert!(b.build().unwrap_err().to_string().contains("memory 4"));
    let mut b = builder();
    b.bitstream.clear();
    assert_eq!(b.build(), Err(XclbinError::Missing(SectionKind::BITSTREAM)));
    let mut b = builder();
    b.kernels.push(b.kernels[0].clone());
    assert!(b.build().unwrap_err().to_string().contains("'jets_kernel' twice"));
}

fn expected() -> Expected<'static> {
    Expected {
        kernel: "jets_kernel",
        pointers: vec!["a", "b", "y"],
        rows: "rows",
        weights: Some("weights"),
        fingerprint: Fingerprint([7; 32]),
    }
}

#[test]
fn a_kernel_that_a_host_cannot_call_is_told_apart() {
    let d = design();
    assert_eq!(d.differences(&expected()), []);
    let said =
        |d: &Design, e: Expected<'_>| d.differences(&e).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        said(&d, Expected { kernel: "other", ..expected() }),
        ["kernels: found 'jets_kernel', expected 'other'"]
    );
    let zeros = Fingerprint([0; 32]);
    let [line] = said(&d, Expected { fingerprint: zeros, ..expected() }).try_into().unwrap();
    assert_eq!(line, format!("fingerprint: found {}, of 'jets', expected {zeros}", Fingerprint([7; 32])));
    assert_eq!(
        said(&d, Expected { pointers: vec!["b", "a", "y"], ..expected() }),
        [
            "argument 'b' of 'jets_kernel': found a pointer of 8 bytes with id 1, expected a pointer of 8 bytes with id 0",
            "argument 'a' of 'jets_kernel': found a pointer of 8 bytes with id 0, expected a pointer of 8 bytes with id 1",
        ]
    );
    assert_eq!(
        said(&d, Expected { weights: None, ..expected() }),
        [
            "arguments of 'jets_kernel': found 'a', 'b', 'y', 'rows', 'weights', expected 'a', 'b', 'y', 'rows'"
        ]
    );
    let lines = said(&d, Expected { rows: "n", ..expected() });
    assert_eq!(
        lines,
        ["argument 'n' of 'jets_kernel': found none of this name, expected a scalar with id 3"]
    );

    let mut silent = d.clone();
    silent.user = None;
    assert_eq!(silent.differences(&Expected { fingerprint: zeros, ..expected() }), []);
    let mut newer = d.clone();
    newer.user.as_mut().unwrap().kernel_abi = 9;
    assert_eq!(said(&newer, expected()), ["kernel ABI: found version 9, expected version 1"]);
    let mut loose = d.clone();
    loose.kernels[0].compute_units[1].banks.retain(|(a, _)| *a != 2);
    assert_eq!(
        said(&loose, expected()),
        [
            "argument 'y' of 'jets_kernel': found no memory in compute unit 'jets_kernel_2', expected one at least"
        ]
    );
    let mut none = d;
    none.kernels[0].compute_units.clear();
    assert_eq!(
        said(&none, expected()),
        ["compute units of 'jets_kernel': found none, expected one at least"]
    );
}

#[test]
fn an_empty_design_needs_no_kernel() {
    let header = Header::new("p", Mode::FLAT, Version { major: 2, minor: 13, patch: 0 }).unwrap();
    let section = |kind, data: &[u8]| Section::new(kind, "s", data.to_vec()).unwrap();
    let sections = vec![
        section(SectionKind::BITSTREAM, b"b"),
        section(SectionKind::EMBEDDED_METADATA, b"<project/>"),
        section(SectionKind::IP_LAYOUT, &[0; 4]),
        section(SectionKind::MEM_TOPOLOGY, &[0; 4]),
    ];
    let d = Design::of(&Xclbin::new(header, sections)).unwrap();
    assert_eq!((d.kernels.len(), d.memories.len(), d.interfaces.len()), (0, 0, 0));
}
