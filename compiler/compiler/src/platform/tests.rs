//! Which compute units go where.

use super::*;
use crate::estimate::{Estimate, Layer, Pointers, Resources, UNPROVEN};

fn card(name: &str) -> &'static Card {
    match Platform::parse(name) {
        Ok(Platform::Card(card)) => card,
        other => panic!("{other:?}"),
    }
}

/// A design that takes so many DSP and reads rows of so many bytes in so many cycles.
fn design(dsp: u64, row_bytes: u64, interval: u64) -> Estimate {
    let resources = Resources { dsp, lut: 1000, ff: 1000, ..Resources::default() };
    let layer = |name: &str, dsp| Layer {
        name: name.to_owned(),
        op: "dot",
        resources: Resources { dsp, ..Resources::default() },
        interval,
        latency_strategy: None,
    };
    Estimate {
        status: UNPROVEN,
        layers: vec![layer("small", dsp / 4), layer("big", dsp - dsp / 4)],
        channels: Resources::default(),
        ports: Resources::default(),
        total: resources,
        interval,
        bottleneck: "big".to_owned(),
        latency: 10,
        weights_cycles: 0,
        row_bytes,
        pointers: ONE,
    }
}

const ONE: Pointers = Pointers { inputs: 1, outputs: 1, weights: false };

fn link(card_name: &str, e: &Estimate, pointers: Pointers, cus: Option<u32>) -> Vec<ComputeUnit> {
    let options = PlaceOptions { compute_units: cus, clock_mhz: None };
    let e = Estimate { pointers, ..e.clone() };
    let target = place(card(card_name), &e, options).unwrap();
    assert_eq!((target.clock_mhz, target.part.as_str()), (250, card(card_name).part.as_str()));
    assert_eq!(target.platform.as_ref(), card(card_name).platforms.first());
    target.link.unwrap().compute_units
}

fn unit(slr: &str, input: &str, output: &str) -> ComputeUnit {
    ComputeUnit {
        slr: slr.to_owned(),
        inputs: vec![input.to_owned()],
        outputs: vec![output.to_owned()],
        weights: None,
    }
}

#[test]
fn names_of_platforms() {
    assert_eq!(card("u55c").name, "U55C");
    assert_eq!(card("xilinx_u55c_gen3x16_xdma_3_202210_1").name, "U55C");
    assert_eq!(card("AWS-F1").name, "aws-f1");
    let part = "xcvu9p-flgb2104-2-i";
    assert_eq!(Platform::parse(&format!("generic-part={part}")), Ok(Platform::Part(part.to_owned())));
    for bad in
        ["generic-part", "generic-part=", "generic-part=vu9p", "generic-part=xc\n[hls]", "generic-partxc"]
    {
        assert!(matches!(Platform::parse(bad), Err(PlatformError::Part(_))), "{bad}");
    }
    let error = Platform::parse("u99").unwrap_err().to_string();
    assert!(error.contains("'u99'") && error.contains("U55C, U50, U200, U250, U280, aws-f1"), "{error}");
}

#[test]
fn a_small_design_sits_at_the_memory() {
    // 64 bytes a cycle at 250 MHz are 16 GB/s: more than the way to the host.
    let units = link("U55C", &design(100, 64, 1), ONE, None);
    assert_eq!(units, [unit("SLR0", "HBM[0:3]", "HBM[4:7]")]);
}

#[test]
fn a_slow_design_gets_more_units_up_to_one_a_region() {
    // 1913 DSP of SLR0 may be filled: three of 600 fit there.
    let e = design(600, 64, 1000);
    let units = link("U55C", &e, ONE, None);
    let expected = [
        unit("SLR0", "HBM[0:3]", "HBM[12:15]"),
        unit("SLR0", "HBM[4:7]", "HBM[16:19]"),
        unit("SLR0", "HBM[8:11]", "HBM[20:23]"),
    ];
    assert_eq!(units, expected);
    // Two of 900, and none away from the memory unless asked for.
    let e = design(900, 64, 1000);
    assert_eq!(link("U55C", &e, ONE, None).len(), 2);
    let slrs: Vec<String> = link("U55C", &e, ONE, Some(5)).into_iter().map(|u| u.slr).collect();
    assert_eq!(slrs, ["SLR0", "SLR0", "SLR1", "SLR1", "SLR2"]);
    // Half as fast a design at 12 GB/s needs two.
    assert_eq!(link("U55C", &design(100, 64, 2), ONE, None).len(), 2);
}

#[test]
fn banks_of_cards_with_ddr_lie_near() {
    let e = design(600, 64, 1000);
    let units = link("U250", &e, ONE, None);
    let slrs: Vec<&str> = units.iter().map(|u| u.slr.as_str()).collect();
    assert_eq!(slrs, ["SLR0", "SLR1", "SLR2", "SLR3"]);
    assert_eq!(units[0], unit("SLR0", "DDR[0]", "DDR[1]"));
    let with_weights = Pointers { weights: true, ..ONE };
    let units = link("U250", &e, with_weights, Some(1));
    assert_eq!(units[0].weights.as_deref(), Some("DDR[3]"));
    // Where the regions of banks are not known, units are spread all the same.
    let slrs: Vec<String> = link("aws-f1", &e, ONE, Some(2)).into_iter().map(|u| u.slr).collect();
    assert_eq!(slrs, ["SLR0", "SLR1"]);
}

/// Indices that a group spans.
fn span(group: &str) -> std::ops::RangeInclusive<usize> {
    let (_, range) = group.strip_suffix(']').unwrap().split_once('[').unwrap();
    let (a, b) = range.split_once(':').unwrap_or((range, range));
    a.parse().unwrap()..=b.parse().unwrap()
}

#[test]
fn inputs_outputs_and_weights_never_share_a_bank() {
    for card in Card::all() {
        for cus in 1..=MAX_COMPUTE_UNITS {
            for (inputs, outputs, weights) in
                [(1, 1, false), (1, 1, true), (3, 2, true), (1, 7, true), (40, 40, true)]
            {
                let pointers = Pointers { inputs, outputs, weights };
                let units = link(&card.name, &design(10, 64, 1000), pointers, Some(cus));
                assert_eq!(units.len(), cus as usize);
                let all = |of: &dyn Fn(&ComputeUnit) -> Vec<String>| {
                    let groups: Vec<String> = units.iter().flat_map(of).collect();
                    let banks: std::collections::BTreeSet<usize> =
                        groups.iter().flat_map(|g| span(g)).collect();
                    assert!(banks.iter().all(|b| *b < card.memories[0].banks), "{}", card.name);
                    banks
                };
                let i = all(&|u| u.inputs.clone());
                let o = all(&|u| u.outputs.clone());
                let w = all(&|u| u.weights.iter().cloned().collect());
                assert!(i.is_disjoint(&o), "{} {cus} {pointers:?}: {units:?}", card.name);
                assert!(w.is_disjoint(&i) && w.is_disjoint(&o), "{} {cus} {pointers:?}", card.name);
                assert!(units.iter().all(|u| u.inputs.len() == inputs && u.outputs.len() == outputs));
            }
        }
    }
}

#[test]
fn too_large_says_what_and_where_it_fits() {
    // 70 % of a region: 1806 of 2580 on the U50, 2013 of 2877 on the U250.
    let e = design(1807, 64, 1);
    let error = place(card("U50"), &e, PlaceOptions::default()).unwrap_err();
    let text = error.to_string();
    for part in ["1807 DSP", "1806", "U50", "'big' with 1356", "unproven"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let advice = error.advice().unwrap();
    assert!(advice.contains("reuse") && advice.contains("U250") && !advice.contains("U50,"), "{advice}");
    assert!(place(card("U250"), &e, PlaceOptions::default()).is_ok());
    let error = place(card("U250"), &design(5000, 64, 1), PlaceOptions::default()).unwrap_err();
    let advice = error.advice().unwrap();
    // 5000 of 2013: three times less.
    assert!(advice.contains("3 times") && advice.contains("split the model"), "{advice}");
    let at = fit(card("U50"), &e);
    assert_eq!((at.compute_units, at.scarce, at.percent), (0, "DSP", 71));
}

#[test]
fn numbers_of_compute_units_are_checked() {
    let options = |n| PlaceOptions { compute_units: Some(n), clock_mhz: None };
    let e = design(1000, 64, 1);
    for n in [0, 32] {
        assert_eq!(place(card("U50"), &e, options(n)), Err(PlaceError::Count(n)));
    }
    // One a region.
    assert_eq!(
        place(card("U50"), &e, options(3)),
        Err(PlaceError::TooMany { card: "U50".to_owned(), asked: 3, fit: 2 })
    );
}

#[test]
fn clock_periods_have_three_decimals() {
    let period = |mhz| Target::part("xc", mhz).clock_period_ns();
    assert_eq!((period(250), period(300), period(0)), ("4".into(), "3.333".into(), "1000".into()));
}
