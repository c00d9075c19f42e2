//! What XRT does in `noop` emulation.

use std::fs;
use std::thread;
use std::time::Duration;

use hs_xrt::{Argument, Device, Error, Mode, State, Xclbin, Xrt, leave};

use crate::child::{in_child, noop};
use crate::minimal::{KERNEL, Minimal};

const SECOND: Duration = Duration::from_secs(1);

fn loaded() -> Device {
    let mut device = Xrt::open().unwrap().device(0).unwrap();
    device.load(&Xclbin::new(&Minimal::default().bytes()).unwrap()).unwrap();
    device
}

in_child! {
    fn xrt_opens_once_for_all_threads(noop) {
        let xrt = Xrt::open().unwrap();
        assert_eq!(xrt.mode(), Mode::Noop);
        let mode = thread::spawn(|| Xrt::open().unwrap().mode()).join().unwrap();
        assert_eq!(mode, Mode::Noop);
    }
}

in_child! {
    fn xrt_loads_an_xclbin_from_a_file(noop) {
        fs::write("minimal.xclbin", Minimal::default().bytes()).unwrap();
        let mut device = Xrt::open().unwrap().device(0).unwrap();
        assert_eq!(device.uuid(), None);
        let error = device.kernel(KERNEL).unwrap_err();
        assert!(matches!(error, Error::NotLoaded(_)), "{error}");
        device.load(&Xclbin::read("minimal.xclbin").unwrap()).unwrap();
        assert_eq!(device.uuid(), Some(Minimal::default().xclbin().header().uuid().0));
    }
}

in_child! {
    fn xrt_tells_where_a_kernels_arguments_are(noop) {
        let kernel = loaded().kernel(KERNEL).unwrap();
        let argument = |offset, bank| Argument { offset, bank };
        assert_eq!(
            kernel.arguments(),
            [argument(0x10, Some(0)), argument(0x1c, Some(1)), argument(0x28, None)]
        );
        assert_eq!(kernel.name(), "twice");
    }
}

in_child! {
    fn xrt_opens_chosen_compute_units(noop) {
        let device = loaded();
        assert_eq!(device.compute_units(KERNEL, &["twice_1"]).unwrap().name(), "twice:{twice_1}");
        // XRT opens the units that there are, and fails where there is none.
        device.compute_units(KERNEL, &["twice_1", "twice_2"]).unwrap();
        let error = device.compute_units(KERNEL, &["twice_2"]).unwrap_err().to_string();
        assert!(error.ends_with("No compute units matching 'twice:{twice_2}'"), "{error}");
    }
}

in_child! {
    fn xrt_names_the_kernel_that_is_not_there(noop) {
        let device = loaded();
        let error = device.kernel("thrice").unwrap_err().to_string();
        assert_eq!(error, "opening kernel 'thrice' of device 0: No such kernel 'thrice': Invalid argument");
        let error = device.kernel("twi\0ce").unwrap_err().to_string();
        assert!(error.contains(r"'twi\0ce' has a NUL byte"), "{error}");
    }
}

in_child! {
    fn xrt_buffers_are_mapped_and_copied_within_their_bounds(noop) {
        let device = loaded();
        let mut buffer = device.buffer(5000, 1).unwrap();
        assert_eq!((buffer.bytes(), buffer.bank()), (&[0; 5000][..], 1));
        assert!(buffer.bytes().as_ptr().addr().is_multiple_of(4096));
        buffer.bytes_mut().fill(7);
        buffer.copy_to_card(0..5000).unwrap();
        buffer.copy_from_card(4096..5000).unwrap();
        buffer.copy_to_card(9..9).unwrap();
        assert_eq!(buffer.bytes(), [7; 5000]);
        for (start, end) in [(0, 5001), (5000, 5001), (usize::MAX - 1, usize::MAX), (5, 4)] {
            let error = buffer.copy_to_card(start..end).unwrap_err();
            assert!(matches!(error, Error::Range { size: 5000, .. }), "{start}..{end}: {error}");
        }
    }
}

in_child! {
    fn xrt_allocates_in_banks_of_the_card_only(noop) {
        let device = loaded();
        assert!(matches!(device.buffer(0, 0).unwrap_err(), Error::Empty));
        let error = device.buffer(64, 2).unwrap_err().to_string();
        assert_eq!(error, "the xclbin has 2 memory banks; there is no bank 2");
        drop(device);
        for second_bank in [("HOST[0]", 1), ("other", 10)] {
            let mut device = Xrt::open().unwrap().device(0).unwrap();
            let xclbin = Minimal { second_bank, ..Minimal::default() };
            device.load(&Xclbin::new(&xclbin.bytes()).unwrap()).unwrap();
            let error = device.buffer(64, 1).unwrap_err();
            assert!(matches!(error, Error::HostBank(1)), "{error}");
            device.buffer(64, 0).unwrap();
        }
    }
}

in_child! {
    fn xrt_runs_complete_again_and_again(noop) {
        let device = loaded();
        let kernel = device.kernel(KERNEL).unwrap();
        let x = device.buffer(64, 0).unwrap();
        let y = device.buffer(64, 1).unwrap();
        let mut run = kernel.run().unwrap();
        run.set_buffer(0, &x).unwrap();
        run.set_buffer(1, &y).unwrap();
        for rows in 0..100_u32 {
            run.set_scalar(2, rows).unwrap();
            run.start().unwrap();
            run.wait(SECOND).unwrap();
            assert_eq!(run.state(), State::Completed);
        }
        let error = run.wait(SECOND).unwrap_err();
        assert!(matches!(error, Error::NotStarted(_)), "{error}");
    }
}

in_child! {
    fn xrt_starts_nothing_without_arguments_that_fit(noop) {
        let device = loaded();
        let other = loaded();
        let kernel = device.kernel(KERNEL).unwrap();
        let (x, y) = (device.buffer(64, 0).unwrap(), device.buffer(64, 1).unwrap());
        let mut run = kernel.run().unwrap();
        let said = |result: Result<(), Error>| result.unwrap_err().to_string();
        run.set_buffer(0, &x).unwrap();
        assert_eq!(said(run.start()), "argument 1 of kernel 'twice' is not set");
        assert_eq!(said(run.set_scalar(1, 5_u32)), "argument 1 of kernel 'twice' takes a buffer, not a number");
        assert_eq!(said(run.set_buffer(2, &x)), "argument 2 of kernel 'twice' takes a number, not a buffer");
        assert_eq!(said(run.set_scalar(3, 5_u32)), "kernel 'twice' has 3 arguments; there is no argument 3");
        assert!(said(run.set_buffer(1, &x)).contains("is connected to bank 1, and the buffer is in bank 0"));
        let stranger = other.buffer(64, 1).unwrap();
        assert!(said(run.set_buffer(1, &stranger)).contains("argument 1 belongs to another device"));
        run.set_buffer(1, &y).unwrap();
        assert_eq!(said(run.start()), "argument 2 of kernel 'twice' is not set");
        run.set_scalar(2, 5_u32).unwrap();
        run.start().unwrap();
        run.wait(SECOND).unwrap();
    }
}

in_child! {
    fn xrt_keeps_what_a_run_needs_open(noop) {
        let mut run = {
            let device = loaded();
            let kernel = device.kernel(KERNEL).unwrap();
            let mut run = kernel.run().unwrap();
            run.set_buffer(0, &device.buffer(64, 0).unwrap()).unwrap();
            run.set_buffer(1, &device.buffer(64, 1).unwrap()).unwrap();
            run.set_scalar(2, 1_u32).unwrap();
            run
        };
        run.start().unwrap();
        run.wait(SECOND).unwrap();
    }
}

in_child! {
    fn xrt_loads_nothing_under_what_is_in_use(noop) {
        let mut device = loaded();
        let xclbin = Xclbin::new(&Minimal::default().bytes()).unwrap();
        let kernel = device.kernel(KERNEL).unwrap();
        let error = device.load(&xclbin).unwrap_err();
        assert!(matches!(error, Error::InUse(_)), "{error}");
        drop(kernel);
        device.load(&xclbin).unwrap();
        device.kernel(KERNEL).unwrap();
    }
}

in_child! {
    fn xrt_serves_threads_at_the_same_time(noop) {
        let device = loaded();
        let kernel = device.kernel(KERNEL).unwrap();
        thread::scope(|scope| {
            for id in 0..4 {
                let (device, kernel) = (&device, &kernel);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let (x, y) = (device.buffer(64, 0).unwrap(), device.buffer(64, 1).unwrap());
                        let mut run = kernel.run().unwrap();
                        run.set_buffer(0, &x).unwrap();
                        run.set_buffer(1, &y).unwrap();
                        run.set_scalar(2, 1_u32).unwrap();
                        run.start().unwrap();
                        run.wait(SECOND).unwrap();
                        let name = format!("kernel{id}");
                        let error = device.kernel(&name).unwrap_err().to_string();
                        assert!(error.contains(&format!("No such kernel '{name}'")), "{error}");
                    }
                });
            }
        });
    }
}

in_child! {
    fn xrt_run_that_does_not_end_is_given_up_with_its_device(|folder| {
        let ini = folder.join("xrt.ini");
        fs::write(&ini, "[Runtime]\nnoop_completion_delay_us=30000000\n").unwrap();
        let mut variables = noop(folder);
        variables.push(("XRT_INI_PATH", ini.display().to_string()));
        variables
    }) {
        let mut device = loaded();
        let kernel = device.kernel(KERNEL).unwrap();
        let (x, y) = (device.buffer(64, 0).unwrap(), device.buffer(64, 1).unwrap());
        let mut run = kernel.run().unwrap();
        run.set_buffer(0, &x).unwrap();
        run.set_buffer(1, &y).unwrap();
        run.set_scalar(2, 1_u32).unwrap();
        run.start().unwrap();
        let error = run.wait(Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        let error = run.start().unwrap_err();
        assert!(matches!(error, Error::Running(_)), "{error}");
        drop(run);
        for error in [
            kernel.run().map(drop),
            device.buffer(64, 0).map(drop),
            x.copy_to_card(0..64),
            device.kernel(KERNEL).map(drop),
            device.load(&Xclbin::new(&Minimal::default().bytes()).unwrap()),
        ] {
            assert!(matches!(error, Err(Error::Abandoned(_))), "{error:?}");
        }
        leave(0);
    }
}
