//! From OpenCL's platforms to a compute unit.
#![expect(unsafe_code, reason = "calls C")]

use std::sync::Arc;

use hs_xclbin::{Design, Kernel, Role};
use hs_xrt::{Environment, Unavailable};
use opencl3::{
    command_queue::CommandQueue,
    context::Context,
    device::{CL_DEVICE_TYPE_ACCELERATOR, Device, cl_device_id},
    error_codes::{CL_DEVICE_NOT_FOUND, CL_PLATFORM_NOT_FOUND_KHR, ClError, DLOPEN_RUNTIME_LOAD_FAILED},
    platform::{Platform, get_platforms},
    program::Program as ClProgram,
};

use crate::{Error, error::failed, slot::Memory};

/// The library that makes XRT an OpenCL platform.
const VENDOR_LIBRARY: &str = "libxilinxopencl.so.2";
/// The platform's name.
const PLATFORM: &str = "Xilinx";

/// Xilinx's OpenCL, open.
#[derive(Debug, Clone, Copy)]
pub struct OpenCl {
    platform: Platform,
}

/// A card.
#[derive(Debug)]
pub struct Card {
    device: Device,
    context: Arc<Context>,
    index: usize,
}

/// An xclbin on a card.
#[derive(Debug)]
pub struct Program {
    loaded: Arc<Loaded>,
    design: Design,
}

/// What compute units and slots keep open.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) program: ClProgram,
    pub(crate) context: Arc<Context>,
    device: Device,
}

/// A compute unit of a kernel, with the weights that it loads.
#[derive(Debug)]
pub struct Unit {
    pub(crate) loaded: Arc<Loaded>,
    /// As OpenCL names it: the kernel, and the unit in braces.
    pub(crate) name: String,
    /// Pointers to rows: inputs and outputs.
    pub(crate) ports: usize,
    pub(crate) weights: Option<Arc<Memory>>,
}

impl OpenCl {
    /// Opens OpenCL and finds Xilinx's platform, after it was found that XRT can start here.
    pub fn open() -> Result<Self, Error> {
        let environment = Environment::of_process();
        environment.check()?;
        let root = environment.xilinx_xrt.ok_or(Unavailable::NotSet)?;
        if !root.join("lib").join(VENDOR_LIBRARY).is_file() {
            return Err(Unavailable::NoLibrary { root, file: VENDOR_LIBRARY }.into());
        }
        let platforms = match get_platforms() {
            Err(ClError(DLOPEN_RUNTIME_LOAD_FAILED)) => return Err(Error::NoLibrary),
            // The loader found no file of a vendor.
            Err(ClError(CL_PLATFORM_NOT_FOUND_KHR)) => Vec::new(),
            platforms => platforms.map_err(failed("asking OpenCL for its platforms"))?,
        };
        let mut found = Vec::new();
        for platform in platforms {
            let name = platform.name().map_err(failed("asking a platform for its name"))?;
            if name == PLATFORM {
                return Ok(Self { platform });
            }
            found.push(name);
        }
        Err(Error::NoPlatform { found })
    }

    /// Names of the cards, by index.
    pub fn cards(self) -> Result<Vec<String>, Error> {
        let name = |id| Device::new(id).name().map_err(failed("asking a card for its name"));
        self.ids()?.into_iter().map(name).collect()
    }

    /// Opens the card with this index.
    pub fn card(self, index: usize) -> Result<Card, Error> {
        let ids = self.ids()?;
        let id = ids.get(index).ok_or(Error::NoCard { index, found: ids.len() })?;
        let device = Device::new(*id);
        let context = Context::from_device(&device).map_err(failed(format!("opening card {index}")))?;
        Ok(Card { device, context: Arc::new(context), index })
    }

    fn ids(self) -> Result<Vec<cl_device_id>, Error> {
        match self.platform.get_devices(CL_DEVICE_TYPE_ACCELERATOR) {
            Err(ClError(CL_DEVICE_NOT_FOUND)) => Ok(Vec::new()),
            ids => ids.map_err(failed("asking OpenCL for Xilinx's cards")),
        }
    }
}

impl Card {
    /// Loads an xclbin, the bytes of its file. The card keeps it until all that came of it is dropped.
    pub fn load(&self, xclbin: &[u8]) -> Result<Program, Error> {
        hs_xrt::Xclbin::new(xclbin)?;
        let design = hs_xclbin::Xclbin::parse(xclbin).and_then(|parsed| Design::of(&parsed));
        let design = design.map_err(hs_xrt::XclbinError::Refused)?;
        let ids = [self.device.id()];
        let what = || format!("loading the xclbin on card {}", self.index);
        // SAFETY: the binary is an xclbin that is whole, and outlives the call, which copies it.
        let program = unsafe { ClProgram::create_from_binary(&self.context, &ids, &[xclbin]) };
        let mut program = program.map_err(failed(what()))?;
        program.build(&ids, "").map_err(failed(what()))?;
        let context = Arc::clone(&self.context);
        Ok(Program { loaded: Arc::new(Loaded { program, context, device: self.device }), design })
    }
}

impl Program {
    /// What the xclbin says.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// A compute unit of one of its kernels, which takes pointers to rows, the number of rows and, where there are
    /// `weights`, a pointer to them. They are loaded once for all slots.
    pub fn unit(&self, kernel: &str, unit: &str, weights: Option<&[u8]>) -> Result<Unit, Error> {
        let found = self.design.kernel(kernel).ok_or_else(|| Error::NoKernel {
            kernel: kernel.to_owned(),
            found: self.design.kernels.iter().map(|k| k.name.clone()).collect(),
        })?;
        if !found.compute_units.iter().any(|u| u.name == unit) {
            return Err(Error::NoUnit {
                kernel: kernel.to_owned(),
                unit: unit.to_owned(),
                found: found.compute_units.iter().map(|u| u.name.clone()).collect(),
            });
        }
        let ports = ports(found, weights.is_some())?;
        let mut unit = Unit {
            loaded: Arc::clone(&self.loaded),
            name: format!("{kernel}:{{{unit}}}"),
            ports,
            weights: None,
        };
        if let Some(weights) = weights {
            unit.weights = Some(Arc::new(unit.load(weights)?));
        }
        Ok(unit)
    }
}

/// Pointers before the number of rows, where the arguments are those of our kernels.
fn ports(kernel: &Kernel, weights: bool) -> Result<usize, Error> {
    let roles: Vec<Role> = kernel.arguments.iter().map(|a| a.role).collect();
    let ports = roles.iter().take_while(|role| **role == Role::Pointer).count();
    let rest: &[Role] = if weights { &[Role::Scalar, Role::Pointer] } else { &[Role::Scalar] };
    if ports > 0 && roles[ports..] == *rest && kernel.arguments[ports].host_size == 4 {
        return Ok(ports);
    }
    let said = |a: &hs_xclbin::Argument| format!("{} {}", a.ctype, a.name);
    let expected = "pointers to rows, a 32-bit number of rows";
    Err(Error::Arguments {
        kernel: kernel.name.clone(),
        found: kernel.arguments.iter().map(said).collect::<Vec<_>>().join(", "),
        expected: if weights { format!("{expected}, a pointer to weights") } else { expected.to_owned() },
    })
}

impl Loaded {
    /// A queue of commands that run one after another.
    pub(crate) fn queue(&self) -> Result<CommandQueue, Error> {
        // SAFETY: the device is the context's.
        let queue = unsafe { CommandQueue::create(&self.context, self.device.id(), 0) };
        queue.map_err(failed("making a queue"))
    }
}
