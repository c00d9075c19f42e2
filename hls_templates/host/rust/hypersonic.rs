// Written by Hypersonic.
//! Packages from Rust through the C interface of `libhypersonic.so`: in process, or on a card. The same file serves
//! every package. Link with `-L DIR`, DIR the directory of the library.
//!
//! ```text
//! let model = Model::open("package", "emulator")?;
//! let results = model.run(&[&values], rows)?;
//! ```
#![allow(dead_code)]

use std::{
    error,
    ffi::{c_char, c_uint, CStr, CString},
    fmt,
    ptr::{self, NonNull},
    slice,
};

/// Version of the C interface that this file is written for.
pub const API: u32 = 1;

#[repr(C)]
struct RawModel {
    private: [u8; 0],
}

#[repr(C)]
struct RawTensor {
    name: *const c_char,
    ty: *const c_char,
    shape: *const usize,
    rank: usize,
    perm: *const usize,
    elements: usize,
    element_bytes: usize,
    stride: usize,
}

#[repr(C)]
struct Span<T> {
    data: *mut T,
    length: usize,
}

#[repr(C)]
struct ConstSpan<T> {
    data: *const T,
    length: usize,
}

#[link(name = "hypersonic")]
extern "C" {
    fn hypersonic_version() -> *const c_char;
    fn hypersonic_api() -> c_uint;
    fn hypersonic_error() -> *const c_char;
    fn hypersonic_open(package: *const c_char, device: *const c_char, model: *mut *mut RawModel) -> c_uint;
    fn hypersonic_close(model: *mut RawModel);
    fn hypersonic_inputs(model: *const RawModel) -> usize;
    fn hypersonic_outputs(model: *const RawModel) -> usize;
    fn hypersonic_input(model: *const RawModel, index: usize, tensor: *mut RawTensor) -> c_uint;
    fn hypersonic_output(model: *const RawModel, index: usize, tensor: *mut RawTensor) -> c_uint;
    fn hypersonic_run(
        model: *mut RawModel,
        rows: usize,
        inputs: *const ConstSpan<f32>,
        input_count: usize,
        outputs: *const Span<f32>,
        output_count: usize,
    ) -> c_uint;
    fn hypersonic_run_packed(
        model: *mut RawModel,
        rows: usize,
        inputs: *const ConstSpan<u8>,
        input_count: usize,
        outputs: *const Span<u8>,
        output_count: usize,
    ) -> c_uint;
}

/// What the library refused, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// `hypersonic_status`: 1 argument, 2 package, 3 device, 4 run, 5 a bug; 0: found on this side.
    pub status: u32,
    /// What was found, what was expected.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// ONNX name.
    pub name: String,
    /// Type of its codes, as `fixed<16,6,RND,SAT>`.
    pub ty: String,
    /// ONNX shape, without the batch axis.
    pub shape: Vec<usize>,
    /// Axis i of a packed row is ONNX axis `perm[i]`.
    pub perm: Vec<usize>,
    /// Elements of a row.
    pub elements: usize,
    /// Bytes of a packed element.
    pub element_bytes: usize,
    /// Bytes from one packed row to the next.
    pub stride: usize,
}

impl Tensor {
    /// Bytes of packed rows, filled up to 64; an output's buffer has 64 more. `None` beyond `usize`.
    pub fn packed_bytes(&self, rows: usize) -> Option<usize> {
        Some(self.stride.checked_mul(rows)?.checked_add(63)? / 64 * 64)
    }
}

/// An open model.
#[derive(Debug)]
pub struct Model {
    raw: NonNull<RawModel>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

// SAFETY: the library's functions may be called from any thread and by several at a time.
unsafe impl Send for Model {}
// SAFETY: as above; only `Drop` closes the model, when no reference is left.
unsafe impl Sync for Model {}

impl Model {
    /// Opens the package in a directory on a device: `emulator`, or `card:0,path.xclbin`.
    pub fn open(package: &str, device: &str) -> Result<Self, Error> {
        let own = |message: String| Error { status: 0, message };
        let text = |t: &str| CString::new(t).map_err(|_| own(format!("{t:?} holds a zero byte")));
        // SAFETY: no arguments.
        let api = unsafe { hypersonic_api() };
        if api != API {
            return Err(own(format!("libhypersonic.so has interface {api}, this file is for {API}")));
        }
        let (package, device) = (text(package)?, text(device)?);
        let mut raw = ptr::null_mut();
        // SAFETY: both texts end with a zero byte, and `raw` takes a pointer.
        check(unsafe { hypersonic_open(package.as_ptr(), device.as_ptr(), &mut raw) })?;
        let raw = NonNull::new(raw).ok_or_else(|| own("the library gave no model".to_owned()))?;
        let mut model = Self { raw, inputs: Vec::new(), outputs: Vec::new() };
        // SAFETY: the model is open.
        let (inputs, outputs) = unsafe { (hypersonic_inputs(raw.as_ptr()), hypersonic_outputs(raw.as_ptr())) };
        model.inputs = (0..inputs).map(|i| model.tensor(i, hypersonic_input)).collect::<Result<_, _>>()?;
        model.outputs = (0..outputs).map(|i| model.tensor(i, hypersonic_output)).collect::<Result<_, _>>()?;
        Ok(model)
    }

    /// The inputs, in model order.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// The outputs, in model order.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Runs rows of floats in ONNX order, a slice a model input, in model order; the result likewise.
    pub fn run(&self, inputs: &[&[f32]], rows: usize) -> Result<Vec<Vec<f32>>, Error> {
        let sizes = self.outputs.iter().map(|t| t.elements.checked_mul(rows));
        let mut results = allocate(sizes, rows)?;
        let (from, to) = spans(inputs, &mut results);
        // SAFETY: each span is a slice that lives for the call; the library checks the lengths.
        check(unsafe {
            hypersonic_run(self.raw.as_ptr(), rows, from.as_ptr(), from.len(), to.as_ptr(), to.len())
        })?;
        Ok(results)
    }

    /// As `run`, on packed rows: `packed_bytes` bytes a model input; a model output has a trailer behind them, which
    /// has been checked.
    pub fn run_packed(&self, inputs: &[&[u8]], rows: usize) -> Result<Vec<Vec<u8>>, Error> {
        let sizes = self.outputs.iter().map(|t| t.packed_bytes(rows)?.checked_add(64));
        let mut results = allocate(sizes, rows)?;
        let (from, to) = spans(inputs, &mut results);
        // SAFETY: as in `run`.
        check(unsafe {
            hypersonic_run_packed(self.raw.as_ptr(), rows, from.as_ptr(), from.len(), to.as_ptr(), to.len())
        })?;
        Ok(results)
    }

    fn tensor(
        &self,
        index: usize,
        get: unsafe extern "C" fn(*const RawModel, usize, *mut RawTensor) -> c_uint,
    ) -> Result<Tensor, Error> {
        let mut raw = RawTensor {
            name: ptr::null(),
            ty: ptr::null(),
            shape: ptr::null(),
            rank: 0,
            perm: ptr::null(),
            elements: 0,
            element_bytes: 0,
            stride: 0,
        };
        // SAFETY: the model is open, and what the library fills in lives as long as it.
        unsafe {
            check(get(self.raw.as_ptr(), index, &mut raw))?;
            let text = |t: *const c_char| CStr::from_ptr(t).to_string_lossy().into_owned();
            Ok(Tensor {
                name: text(raw.name),
                ty: text(raw.ty),
                shape: slice::from_raw_parts(raw.shape, raw.rank).to_vec(),
                perm: slice::from_raw_parts(raw.perm, raw.rank).to_vec(),
                elements: raw.elements,
                element_bytes: raw.element_bytes,
                stride: raw.stride,
            })
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once.
        unsafe { hypersonic_close(self.raw.as_ptr()) }
    }
}

/// Version of the library.
pub fn version() -> String {
    // SAFETY: the text is the library's for ever.
    unsafe { CStr::from_ptr(hypersonic_version()) }.to_string_lossy().into_owned()
}

fn check(status: c_uint) -> Result<(), Error> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: valid until this thread's next call.
    let message = unsafe { CStr::from_ptr(hypersonic_error()) }.to_string_lossy().into_owned();
    Err(Error { status, message })
}

fn allocate<T: Clone + Default>(
    sizes: impl Iterator<Item = Option<usize>>,
    rows: usize,
) -> Result<Vec<Vec<T>>, Error> {
    let large = || Error { status: 0, message: format!("{rows} rows are more than memory can hold; pass fewer") };
    sizes
        .map(|size| {
            let size = size.ok_or_else(large)?;
            let mut values = Vec::new();
            values.try_reserve_exact(size).map_err(|_| large())?;
            values.resize(size, T::default());
            Ok(values)
        })
        .collect()
}

fn spans<T>(inputs: &[&[T]], outputs: &mut [Vec<T>]) -> (Vec<ConstSpan<T>>, Vec<Span<T>>) {
    let from = inputs.iter().map(|x| ConstSpan { data: x.as_ptr(), length: x.len() }).collect();
    let to = outputs.iter_mut().map(|y| Span { data: y.as_mut_ptr(), length: y.len() }).collect();
    (from, to)
}
