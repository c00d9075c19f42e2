//! Cards that fail, and that are mended while a host runs.

use std::{
    fs,
    time::{Duration, Instant},
};

use hs_hw::abi::{BEAT_BYTES, Trailer, TrailerError};
use hs_xrt::{Error, Xclbin, Xrt, leave};
use hs_xrt_emu::bed::End;

use crate::{
    digits,
    native::{Model, card},
    rig::{FAULTS, PACKAGE, Rig, XCLBIN, in_rig, run_to_an_end},
    with_weights,
};

const ROWS: usize = 17;

fn fault(text: &str) {
    fs::write(FAULTS, text).unwrap();
}

/// Places where two buffers differ.
fn differences(found: &[u8], expected: &[u8]) -> Vec<usize> {
    assert_eq!(found.len(), expected.len());
    (0..found.len()).filter(|i| found[*i] != expected[*i]).collect()
}

in_rig! {
    fn xrt_card_that_is_wrong_is_right_again_when_mended(Rig::new(digits, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        model.check(&device, &kernel, 1, ROWS);

        fault("0 wrong\n");
        let (found, expected) = model.start(&device, &kernel, 1, ROWS).finish();
        assert_eq!(differences(&found[0], &expected[0]), [0]);
        fault("1 wrong\n");
        model.check(&device, &kernel, 1, ROWS);

        fault("* trailer\n");
        let (found, expected) = model.start(&device, &kernel, 1, ROWS).finish();
        let trailer = found[0].len() - BEAT_BYTES;
        assert_eq!(found[0][..trailer], expected[0][..trailer]);
        let right = Trailer::new(ROWS as u32, &model.package.manifest().fingerprint);
        assert_eq!(right.check(&expected[0][trailer..]), Ok(()));
        assert!(matches!(right.check(&found[0][trailer..]), Err(TrailerError::Fingerprint { .. })));

        fault("0 slow=300ms\n");
        let begin = Instant::now();
        model.check(&device, &kernel, 1, ROWS);
        assert!(begin.elapsed() >= Duration::from_millis(300));

        fs::remove_file(FAULTS).unwrap();
        model.check(&device, &kernel, 1, ROWS);
    }
}

in_rig! {
    fn xrt_card_that_hangs_meets_the_deadline(Rig::new(digits, 1, 2)) {
        let model = Model::open(PACKAGE.as_ref());
        let (hangs, works) = (card(0, &model), card(1, &model));
        fault("0 hang\n");
        let mut started = model.start(&hangs.0, &hangs.1, 1, ROWS);
        let error = started.run.wait(Duration::from_millis(500)).unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        // The other one does not know of it.
        model.check(&works.0, &works.1, 2, ROWS);
        leave(0);
    }
}

#[test]
fn xrt_host_of_a_card_that_crashes_ends() {
    let test = concat!(module_path!(), "::xrt_host_of_a_card_that_crashes_ends");
    let body = || {
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        model.check(&device, &kernel, 1, ROWS);
        fault("0 crash\n");
        println!("the card was whole");
        model.start(&device, &kernel, 1, ROWS).finish();
        leave(0);
    };
    let Some((end, said)) = run_to_an_end(test, || Rig::new(digits, 1, 1), body) else { return };
    assert!(said.contains("the card was whole"), "{said}");
    assert!(end != End::Exit(0) && end != End::Limit, "{end:?}: {said}");
}

in_rig! {
    fn xrt_card_that_loads_nothing_loads_when_mended(Rig::new(digits, 1, 1)) {
        fault("0 fail-load\n");
        let xclbin = Xclbin::read(XCLBIN).unwrap();
        let mut device = Xrt::open().unwrap().device(0).unwrap();
        device.load(&xclbin).unwrap_err();
        drop(device);
        fs::remove_file(FAULTS).unwrap();
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        model.check(&device, &kernel, 1, ROWS);
    }
}

in_rig! {
    fn xrt_card_with_other_weights_gives_other_results(Rig::new(with_weights, 1, 1)) {
        let model = Model::open(PACKAGE.as_ref());
        let (device, kernel) = card(0, &model);
        model.check(&device, &kernel, 1, ROWS);
        model.check(&device, &kernel, 2, ROWS);

        let mut weights = model.weights().unwrap();
        weights[4999] ^= 1;
        let (found, expected) = model.start_with(&device, &kernel, 1, ROWS, Some(weights)).finish();
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found != expected);
        }
    }
}
