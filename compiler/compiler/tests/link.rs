//! The link's configuration of whole projects.

use hs_compiler::estimate::estimate;
use hs_compiler::hls::{self, CONNECTIVITY, EmitError};
use hs_compiler::lint::lint;
use hs_compiler::platform::{Card, PlaceOptions, Target, place};
use hs_compiler::schedule::{ScheduleOptions, schedule};
use hs_hw::{Io, Program, Schedule, text};

fn cnn() -> (Program, Schedule) {
    let program = text::parse(include_str!("programs/cnn.hw")).unwrap();
    let options = ScheduleOptions { io: Some(Io::Stream), ..ScheduleOptions::default() };
    let schedule = schedule(&program, &options).unwrap().0;
    (program, schedule)
}

fn target(card: &Card, compute_units: Option<u32>) -> Target {
    let (program, schedule) = cnn();
    let options = PlaceOptions { compute_units, clock_mhz: None };
    place(card, &estimate(&program, &schedule).unwrap(), options).unwrap()
}

#[test]
fn every_card_links_one_to_all_of_its_units() {
    let (program, schedule) = cnn();
    for card in Card::all() {
        for units in [None, Some(1), Some(2), Some(5)] {
            let target = target(card, units);
            let project = hls::emit(&program, &schedule, "net", &target).unwrap();
            let link = project.files.iter().find(|f| f.path == CONNECTIVITY).expect("a link");
            let link = String::from_utf8(link.bytes.clone()).unwrap();
            let n = target.compute_units();
            assert!(units.is_none_or(|u| u == n), "{}", card.name);
            assert!(link.contains(&format!("nk=net_kernel:{n}\n")), "{link}");
            for prefix in ["slr=net_kernel_", "sp=net_kernel_"] {
                let lines = link.lines().filter(|l| l.starts_with(prefix)).count();
                let each = if prefix.starts_with("slr") {
                    1
                } else {
                    program.inputs().len() + program.outputs().len()
                };
                assert_eq!(lines, n as usize * each, "{link}");
            }
        }
    }
}

#[test]
fn a_part_alone_has_no_link() {
    let (program, schedule) = cnn();
    let project = hls::emit(&program, &schedule, "net", &Target::default()).unwrap();
    assert!(project.files.iter().all(|f| f.path != CONNECTIVITY));
}

#[test]
fn a_link_of_another_kernel_is_refused() {
    let (program, schedule) = cnn();
    let mut target = target(&Card::all()[0], Some(1));
    target.link.as_mut().unwrap().compute_units[0].inputs.push("HBM[9]".to_owned());
    let errors = hls::emit(&program, &schedule, "net", &target).unwrap_err();
    assert!(matches!(errors.as_slice(), [EmitError::Target(m)] if m.contains("inputs")), "{errors:?}");
}

#[test]
fn a_generator_that_breaks_the_link_is_caught() {
    let (program, schedule) = cnn();
    let project = hls::emit(&program, &schedule, "net", &target(&Card::all()[0], Some(2))).unwrap();
    let broken = |from: &str, to: &str| {
        let mut files = project.files.clone();
        let file = files.iter_mut().find(|f| f.path == CONNECTIVITY).unwrap();
        let text = String::from_utf8(file.bytes.clone()).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        file.bytes = text.replacen(from, to, 1).into_bytes();
        lint(&files).into_iter().map(|f| f.rule).collect::<Vec<_>>()
    };
    assert_eq!(broken("nk=", "nk="), Vec::<&str>::new());
    assert_eq!(broken("slr=net_kernel_2", "slr=net_kernel_3"), ["link-slr"]);
    assert!(broken("nk=net_kernel:2", "nk=net_kernel:99").contains(&"link-compute-units"));
    let last = |prefix: &str| {
        let link = project.files.iter().find(|f| f.path == CONNECTIVITY).unwrap();
        let text = String::from_utf8(link.bytes.clone()).unwrap();
        text.lines().find(|l| l.starts_with(prefix)).unwrap().to_owned()
    };
    let output = last("sp=net_kernel_1.y_");
    let (port, _) = output.split_once(':').unwrap();
    assert_eq!(broken(&output, &format!("{port}:HBM[0]")), ["link-disjoint"]);
}
