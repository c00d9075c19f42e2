use super::*;
use crate::{
    Op, Softmax,
    testing::{Config, Rng, random_program},
};

const DIGITS: &str = r#"program "digits" version 1

%0 = input "x" {index: 0, tensor: "x", onnx_shape: [1, 4, 4], perm: [1, 2, 0]} : [4, 4, 1] ufixed<8,0,RND,SAT>
%1 = dot(%0) "conv1/Conv" {
  window: [{kernel: 2, stride: 2, dilation: 1, pad: [0, 0]}, {kernel: 2, stride: 2, dilation: 1, pad: [0, 0]}],
  groups: 1,
  weight: fixed<8,1>[1, -2, 3, 4],
  accum: exact{format: fixed<18,3>},
  act: clamp{lo: 0},
} : [2, 2, 1] ufixed<16,2,RND,SAT>
%2 = output(%1) "y" {index: 0, tensor: "y", onnx_shape: [1, 2, 2], perm: [1, 2, 0]} : [2, 2, 1] ufixed<16,2,RND,SAT>
"#;

#[test]
fn a_program_reads_as_documented() {
    let p = parse(DIGITS).unwrap();
    assert_eq!(p.verify(), Ok(()));
    assert_eq!(print(&p), DIGITS);
    // Layout and comments are free.
    let spread = DIGITS.replace(' ', "\n ").replace("program", "// a report\nprogram");
    assert_eq!(parse(&spread).unwrap(), p);
    let dense = DIGITS.replace("\n  ", "").replace(",\n}", "}");
    assert_eq!(parse(&dense).unwrap(), p);
}

#[test]
fn random_programs_round_trip() {
    for seed in 0..3000 {
        let p = random_program(seed, &Config::default());
        let text = print(&p);
        let back = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(back, p, "{text}");
        assert_eq!(print(&back), text);
        let (text, side) = print_with_side(&p).unwrap();
        assert_eq!(parse_with_side(&text, &side).unwrap_or_else(|e| panic!("{e}\n{text}")), p);
        assert!(text.lines().all(|l| l.len() < 400 && l.is_ascii()), "{text}");
    }
}

#[test]
fn side_bytes_are_the_narrowest() {
    let text = |format: &str, n: usize| {
        let code = if format.starts_with('u') { "1" } else { "-1" };
        let list = vec![code; n].join(", ");
        format!(
            "program \"\" version 1 %0 = const \"c\" {{codes: {format}[{list}]}} : [{n}] fixed<8,8,TRN,WRAP>"
        )
    };
    for (format, bytes) in [
        ("fixed<8,8>", 1),
        ("ufixed<8,8>", 1),
        ("fixed<9,8>", 2),
        ("ufixed<16,8>", 2),
        ("fixed<17,8>", 4),
        ("fixed<33,8>", 8),
        ("fixed<64,8>", 8),
    ] {
        let p = parse(&text(format, 17)).unwrap();
        let (out, side) = print_with_side(&p).unwrap();
        assert_eq!(side.len(), 17 * bytes);
        assert!(out.contains("side{offset: 0, count: 17}"), "{out}");
        assert_eq!(parse_with_side(&out, &side).unwrap(), p);
        let (out, side) = print_with_side(&parse(&text(format, 16)).unwrap()).unwrap();
        assert!(side.is_empty() && !out.contains("side"));
    }
    let p = parse(&text("fixed<8,8>", 17).replace("-1, -1", "-1, 200")).unwrap();
    let error = print_with_side(&p).unwrap_err();
    assert_eq!(error.to_string(), "200 is not a code of fixed<8,8>");
}

#[test]
fn lying_references_are_errors() {
    let text = |reference: &str| {
        format!(
            "program \"\" version 1 %0 = const \"c\" {{codes: fixed<16,8> side{{{reference}}}}} : [2] fixed<16,8,TRN,WRAP>"
        )
    };
    let error = |reference, side| parse_with_side(&text(reference), side).unwrap_err().to_string();
    assert!(parse_with_side(&text("offset: 0, count: 2"), &[0; 4]).is_ok());
    assert!(error("offset: 0, count: 3", &[0; 4]).contains("at most 2 codes of 2 bytes"));
    assert!(error("offset: 0, count: 9223372036854775807", &[0; 4]).contains("at most 2 codes"));
    assert!(error("offset: 2, count: 1", &[0; 4]).contains("expected offset 0"));
    assert!(error("offset: 0, count: 1", &[0; 4]).contains("2 bytes of constants unused"));
    assert!(error("offset: -1, count: 1", &[0; 4]).contains("not negative"));
    assert!(error("offset: 0, count: 1", &[]).contains("at most 0 codes"));
}

#[test]
fn errors_say_where_and_what() {
    let error = |from: &str, to: &str| {
        assert!(DIGITS.contains(from), "{from}");
        parse(&DIGITS.replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert_eq!(error("groups: 1", "groups: one"), "line 6, column 11: found 'one', expected an integer");
    assert_eq!(error("dot(", "dit("), {
        "line 4, column 6: found 'dit', expected an op: input, output, const, dot, affine, requant, binary, table, \
         pool, softmax, reshape, permute, concat, pad"
    });
    assert_eq!(
        error("groups: 1,", ""),
        "line 4, column 27: found no field 'groups', expected a field 'groups'"
    );
    assert_eq!(error("groups: 1,", "groups: 1, groups: 1,"), {
        "line 6, column 14: found field 'groups', expected each field once"
    });
    assert!(
        error("groups: 1,", "groups: 1, color: 1,").contains("found field 'color', expected no such field")
    );
    assert_eq!(error("dot(%0)", "dot(%1)"), "line 4, column 10: found '%', expected a value before %1");
    assert_eq!(error("%1 = dot", "%7 = dot"), "line 4, column 1: found '%', expected %1");
    assert!(error("version 1", "version 2").contains("found 2, expected version 1 of the text form"));
    assert!(error("ufixed<8,0,RND,SAT>", "ufixed<8,0>").contains("a type with both modes"));
    assert!(error("ufixed<8,0,RND,SAT>", "ufixed<8,0,RND>").contains("both modes or neither"));
    assert!(error("ufixed<8,0,RND,SAT>", "ufixed<800,0,RND,SAT>").contains("800 bits"));
    assert!(error("ufixed<8,0,RND,SAT>", "ap_fixed<8,0>").contains("found 'ap_fixed<8,0>'"));
    assert!(
        error("exact{format: fixed<18,3>}", "exact{format: fixed<18,3,TRN,SAT>}").contains("without modes")
    );
    assert!(error("exact{", "about{").contains("exact{…} or stepwise{…}"));
    assert!(error("lo: 0", "lo: 99999999999999999999").contains("an integer of 64 bits"));
    assert!(error("[4, 4, 1]", "[4, -4, 1]").contains("not negative"));
    assert!(error("\"conv1/Conv\"", "\"conv1\\qConv\"").contains("an escape"));
    assert!(error("\"conv1/Conv\"", "\"conv1\nConv\"").contains("closing"));
    assert_eq!(parse("").unwrap_err().found, "the end of the text");
    // Columns count characters.
    assert_eq!(parse("program \"πππ\" x").unwrap_err().column, 15);
}

#[test]
fn names_survive_and_cannot_disguise_themselves() {
    let mut p = parse(DIGITS).unwrap();
    for name in ["", "a\"b\\c\nd\te\r\0", "π ∞ \u{202e} \u{10ffff}", "%0 = input // {", "\u{7f}"] {
        p.name = name.to_owned();
        p.nodes[1].name = name.to_owned();
        let text = print(&p);
        assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{text}");
        assert_eq!(parse(&text).unwrap(), p);
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let open = "program \"\" version 1 %0 = const \"c\" {codes: ";
    for deep in ["[", "{a: ", "a{a: "] {
        let text = format!("{open}{}", deep.repeat(200_000));
        assert!(parse(&text).unwrap_err().expected.contains("nesting"), "{deep}");
    }
    let wide = format!("{open}[{}]", "{}, ".repeat(100));
    assert!(parse(&wide).unwrap_err().expected.contains("at most"));
}

/// Damaged text is an error or some other Program, never a panic, also in the verifier.
#[test]
fn damaged_text_does_not_panic() {
    let mut rng = Rng::new(5);
    let (mut errors, mut parsed) = (0, 0);
    for seed in 0..400 {
        let text = print(&random_program(seed, &Config::default()));
        for _ in 0..20 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..rng.size(1..=3) {
                let at = rng.size(0..=bytes.len() - 1);
                let end = (at + rng.size(1..=30)).min(bytes.len());
                match rng.size(0..=4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => drop(bytes.drain(at..end)),
                    2 => bytes[at] = *rng.pick(b"0123456789-{}[]()%:,<>\"\\ a\n"),
                    3 => drop(bytes.splice(at..at, *b"9999999999")),
                    _ => {
                        let copy = bytes[at..end].to_vec();
                        let to = rng.size(0..=bytes.len() - 1);
                        drop(bytes.splice(to..to, copy));
                    }
                }
                if bytes.is_empty() {
                    bytes.push(b' ');
                }
            }
            match parse(&String::from_utf8_lossy(&bytes)) {
                Err(_) => errors += 1,
                Ok(p) => {
                    parsed += 1;
                    let _ = p.verify();
                }
            }
        }
    }
    assert!(errors > 2000 && parsed > 200, "{errors} {parsed}");
}

#[test]
fn fingerprints_are_of_the_bits() {
    let mut flipped = 0;
    for seed in 0..300 {
        let p = random_program(seed, &Config::default());
        let print = p.fingerprint();
        assert_eq!(print.to_string().parse(), Ok(print));
        let mut renamed = p.clone();
        renamed.name = "other".to_owned();
        for (i, node) in renamed.nodes.iter_mut().enumerate() {
            node.name = format!("n{i}");
        }
        assert_eq!(renamed.fingerprint(), print);
        for i in 0..p.nodes.len() {
            let mut other = p.clone();
            let codes = match &mut other.nodes[i].op {
                Op::Const(c) => c,
                Op::Dot(d) => &mut d.weight,
                Op::Affine { scale, .. } => scale,
                Op::Table(t) => &mut t.entries,
                Op::Softmax(Softmax::Tables(s)) => &mut s.inv.entries,
                Op::Input { tensor, .. } | Op::Output { tensor, .. } => {
                    tensor.push('_');
                    assert_ne!(other.fingerprint(), print);
                    continue;
                }
                Op::Requant(_)
                | Op::Binary { .. }
                | Op::Pool(_)
                | Op::Softmax(Softmax::Argmax)
                | Op::Reshape
                | Op::Permute(_)
                | Op::Concat { .. }
                | Op::Pad { .. } => continue,
            };
            let mut data = codes.data.to_vec();
            let at = seed as usize % data.len();
            data[at] ^= 1 << (seed % 64);
            codes.data = data.into();
            assert_ne!(other.fingerprint(), print);
            flipped += 1;
        }
        let mut retyped = p.clone();
        retyped.nodes[0].ty.rounding = hs_fixed::Rounding::RndMinInf;
        assert_eq!(retyped.fingerprint() == print, retyped == p);
    }
    assert!(flipped > 300, "{flipped}");
}

/// The canonical form of version 1: a change of these digits breaks every package and bitstream there is.
#[test]
fn fingerprint_is_stable() {
    let p = parse(DIGITS).unwrap();
    assert!(canonical(&p).contains("weight: fixed<8,1> sha256{count: 4, digest: \""));
    assert_eq!(
        p.fingerprint().to_string(),
        "04186d2577febd9f44ee628d802293341d9704c8efcf3b40fb8571c724856545"
    );
}
