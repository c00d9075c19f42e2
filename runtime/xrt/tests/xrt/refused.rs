//! Environments in which XRT ends the process that calls it, or finds no card.

use std::fs;

use hs_xrt::{Error, Mode, Unavailable, Xrt};

use crate::child::{cards, in_child};

in_child! {
    fn xrt_is_not_called_where_xilinx_xrt_is_not_set(|_| vec![("XCL_EMULATION_MODE", "noop".to_owned())]) {
        let error = Xrt::open().unwrap_err();
        assert!(matches!(error, Error::Unavailable(Unavailable::NotSet)), "{error}");
    }
}

in_child! {
    fn xrt_is_not_called_where_its_library_is_missing(|folder| {
        vec![("XILINX_XRT", folder.display().to_string()), ("XCL_EMULATION_MODE", "noop".to_owned())]
    }) {
        let error = Xrt::open().unwrap_err().to_string();
        assert!(error.contains("which has no lib/libxrt_coreutil.so.2"), "{error}");
    }
}

in_child! {
    fn xrt_is_not_called_in_a_mode_that_it_does_not_know(|folder| {
        let mut variables = cards(folder);
        variables.push(("XCL_EMULATION_MODE", "nope".to_owned()));
        variables
    }) {
        let error = Xrt::open().unwrap_err().to_string();
        assert!(error.contains("XCL_EMULATION_MODE is 'nope', not hw_emu, sw_emu or noop"), "{error}");
    }
}

in_child! {
    fn xrt_that_is_no_library_is_an_error(|folder| {
        fs::create_dir(folder.join("lib")).unwrap();
        for file in ["libxrt_coreutil.so.2", "libxrt_core.so.2"] {
            fs::write(folder.join("lib").join(file), "not a library").unwrap();
        }
        vec![("XILINX_XRT", folder.display().to_string())]
    }) {
        let error = Xrt::open().unwrap_err();
        assert!(matches!(error, Error::Library(_)), "{error}");
        assert!(error.to_string().starts_with("XRT cannot be opened: "), "{error}");
    }
}

in_child! {
    fn xrt_without_such_a_card_says_so(cards) {
        let xrt = Xrt::open().unwrap();
        assert_eq!(xrt.mode(), Mode::Hardware);
        // No machine has so many cards.
        let error = xrt.device(4711).unwrap_err().to_string();
        assert_eq!(error, "opening device 4711: Could not open device with index '4711'");
    }
}
