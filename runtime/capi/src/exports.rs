//! The functions of `hypersonic.h`. Each checks its pointers, works on safe types and turns what goes wrong, panics
//! included, into a status and a message.

use std::{
    any::Any,
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_uint},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use crate::{Error, Model, Tensor, model::packed_bytes};

/// Version of the interface: `HYPERSONIC_API`.
const API: c_uint = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("a version holds no zero byte"),
};

/// `hypersonic_model`.
pub(crate) struct Handle {
    model: Model,
    inputs: Vec<Texts>,
    outputs: Vec<Texts>,
}

/// Texts of a tensor as C reads them.
struct Texts {
    name: CString,
    ty: CString,
}

/// `hypersonic_tensor`.
#[repr(C)]
pub(crate) struct RawTensor {
    name: *const c_char,
    ty: *const c_char,
    shape: *const usize,
    rank: usize,
    perm: *const usize,
    elements: usize,
    element_bytes: usize,
    stride: usize,
}

/// `hypersonic_values`, `hypersonic_bytes`.
#[repr(C)]
pub(crate) struct Span<T> {
    data: *mut T,
    length: usize,
}

/// `hypersonic_const_values`, `hypersonic_const_bytes`.
#[repr(C)]
pub(crate) struct ConstSpan<T> {
    data: *const T,
    length: usize,
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Text for C; a zero byte would end it early.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// The status of `body`'s outcome; remembers the message of one that failed.
fn guarded(body: impl FnOnce() -> Result<(), Error>) -> c_uint {
    // A model is not changed by calls, and what a panic leaves in the outputs nobody reads.
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(internal(panic.as_ref())));
    let Err(error) = outcome else { return 0 };
    MESSAGE.with(|m| *m.borrow_mut() = c_text(&error.to_string()));
    error.status()
}

fn internal(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Internal(text.unwrap_or("a panic without a message").to_owned())
}

fn null(what: &str) -> Error {
    Error::Argument(format!("the pointer '{what}' is null"))
}

/// # Safety
/// `text` is null or ends with a zero byte.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Error> {
    if text.is_null() {
        return Err(null(what));
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Error::Argument(format!("'{what}' is no UTF-8 text")))
}

/// # Safety
/// `data` is null or points to `length` values that nobody writes during `'a`.
unsafe fn read<'a, T>(data: *const T, length: usize, what: &str) -> Result<&'a [T], Error> {
    if length == 0 {
        return Ok(&[]);
    }
    check_pointer(data, length, what)?;
    // SAFETY: the caller's; neither null nor unaligned nor too long.
    Ok(unsafe { slice::from_raw_parts(data, length) })
}

/// # Safety
/// `data` is null or points to `length` values that nobody else reads or writes during `'a`.
unsafe fn write<'a, T>(data: *mut T, length: usize, what: &str) -> Result<&'a mut [T], Error> {
    if length == 0 {
        return Ok(&mut []);
    }
    check_pointer(data, length, what)?;
    // SAFETY: the caller's; neither null nor unaligned nor too long.
    Ok(unsafe { slice::from_raw_parts_mut(data, length) })
}

fn check_pointer<T>(data: *const T, length: usize, what: &str) -> Result<(), Error> {
    if data.is_null() {
        return Err(null(what));
    }
    if !data.is_aligned() {
        return Err(Error::Argument(format!(
            "the pointer '{what}' is not aligned to {} bytes",
            align_of::<T>()
        )));
    }
    if length.checked_mul(size_of::<T>()).is_none_or(|b| isize::try_from(b).is_err()) {
        return Err(Error::Argument(format!("'{what}' has {length} entries, more than memory can hold")));
    }
    Ok(())
}

/// # Safety
/// `model` is null or open.
unsafe fn handle<'a>(model: *const Handle) -> Result<&'a Handle, Error> {
    // SAFETY: the caller's.
    unsafe { model.as_ref() }.ok_or_else(|| null("model"))
}

impl Handle {
    fn open(package: &str, device: &str) -> Result<Self, Error> {
        let model = Model::open(package, device)?;
        let texts = |tensors: &[Tensor]| -> Vec<Texts> {
            let layouts = tensors.iter().map(Tensor::layout);
            layouts.map(|l| Texts { name: c_text(l.tensor()), ty: c_text(&l.ty().to_string()) }).collect()
        };
        let (inputs, outputs) = (texts(model.inputs()), texts(model.outputs()));
        Ok(Self { model, inputs, outputs })
    }
}

fn describe(texts: &[Texts], tensors: &[Tensor], index: usize, what: &str) -> Result<RawTensor, Error> {
    let (Some(texts), Some(tensor)) = (texts.get(index), tensors.get(index)) else {
        return Err(Error::Argument(format!("there is no {what} {index}; the model has {}", tensors.len())));
    };
    let shape = tensor.layout().onnx_shape();
    Ok(RawTensor {
        name: texts.name.as_ptr(),
        ty: texts.ty.as_ptr(),
        shape: shape.as_ptr(),
        rank: shape.len(),
        perm: tensor.perm().as_ptr(),
        elements: tensor.packed().elements,
        element_bytes: tensor.packed().element_bytes,
        stride: tensor.packed().stride,
    })
}

fn find(texts: &[Texts], name: &str, what: &str) -> Result<usize, Error> {
    texts.iter().position(|t| t.name.to_bytes() == name.as_bytes()).ok_or_else(|| {
        let names: Vec<_> = texts.iter().map(|t| t.name.to_string_lossy()).collect();
        Error::Argument(format!("the model has no {what} '{name}'; it has {}", names.join(", ")))
    })
}

/// # Safety
/// `place` is null or may be written.
unsafe fn put<T>(place: *mut T, value: T, what: &str) -> Result<(), Error> {
    if place.is_null() {
        return Err(null(what));
    }
    // SAFETY: the caller's.
    unsafe { place.write(value) };
    Ok(())
}

/// The version of the library.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn hypersonic_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The version of the interface.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn hypersonic_api() -> c_uint {
    API
}

/// What went wrong in this thread's last call that failed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn hypersonic_error() -> *const c_char {
    // A thread that ends has no messages any more.
    MESSAGE.try_with(|m| m.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Opens a package on a device.
///
/// # Safety
/// As `hypersonic.h` says of its arguments.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_open(
    package: *const c_char,
    device: *const c_char,
    model: *mut *mut Handle,
) -> c_uint {
    guarded(|| {
        // SAFETY: the caller's.
        unsafe {
            put(model, ptr::null_mut(), "model")?;
            let opened = Handle::open(text(package, "package")?, text(device, "device")?)?;
            put(model, Box::into_raw(Box::new(opened)), "model")
        }
    })
}

/// Closes a model.
///
/// # Safety
/// `model` is null, or was opened and not yet closed, and no other call uses it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_close(model: *mut Handle) {
    if !model.is_null() {
        guarded(|| {
            // SAFETY: made by `hypersonic_open`, and the caller's.
            drop(unsafe { Box::from_raw(model) });
            Ok(())
        });
    }
}

/// Number of inputs; 0 for null.
///
/// # Safety
/// `model` is null or open.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_inputs(model: *const Handle) -> usize {
    // SAFETY: the caller's.
    unsafe { handle(model) }.map_or(0, |h| h.inputs.len())
}

/// Number of outputs; 0 for null.
///
/// # Safety
/// `model` is null or open.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_outputs(model: *const Handle) -> usize {
    // SAFETY: the caller's.
    unsafe { handle(model) }.map_or(0, |h| h.outputs.len())
}

/// The input of an index.
///
/// # Safety
/// `model` is null or open, `tensor` null or writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_input(
    model: *const Handle,
    index: usize,
    tensor: *mut RawTensor,
) -> c_uint {
    guarded(|| {
        // SAFETY: the caller's.
        unsafe {
            let h = handle(model)?;
            put(tensor, describe(&h.inputs, h.model.inputs(), index, "input")?, "tensor")
        }
    })
}

/// The output of an index.
///
/// # Safety
/// As [`hypersonic_input`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_output(
    model: *const Handle,
    index: usize,
    tensor: *mut RawTensor,
) -> c_uint {
    guarded(|| {
        // SAFETY: the caller's.
        unsafe {
            let h = handle(model)?;
            put(tensor, describe(&h.outputs, h.model.outputs(), index, "output")?, "tensor")
        }
    })
}

/// The index of an input by its name.
///
/// # Safety
/// `model` is null or open, `name` null or a text, `index` null or writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_find_input(
    model: *const Handle,
    name: *const c_char,
    index: *mut usize,
) -> c_uint {
    // SAFETY: the caller's.
    guarded(|| unsafe { put(index, find(&handle(model)?.inputs, text(name, "name")?, "input")?, "index") })
}

/// The index of an output by its name.
///
/// # Safety
/// As [`hypersonic_find_input`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_find_output(
    model: *const Handle,
    name: *const c_char,
    index: *mut usize,
) -> c_uint {
    // SAFETY: the caller's.
    guarded(|| unsafe { put(index, find(&handle(model)?.outputs, text(name, "name")?, "output")?, "index") })
}

/// Bytes of packed rows; 0 for null and where there is no such size.
///
/// # Safety
/// `tensor` is null or readable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_packed_bytes(tensor: *const RawTensor, rows: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { tensor.as_ref() }.and_then(|t| packed_bytes(t.stride, rows)).unwrap_or(0)
}

/// Runs rows of floats.
///
/// # Safety
/// `model` is null or open; the arrays have as many entries as said, each of as many values as it says, and outputs
/// overlap with nothing.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_run(
    model: *mut Handle,
    rows: usize,
    inputs: *const ConstSpan<f32>,
    input_count: usize,
    outputs: *const Span<f32>,
    output_count: usize,
) -> c_uint {
    guarded(|| {
        // SAFETY: the caller's. Any float is four bytes.
        unsafe {
            let h = handle(model)?;
            let mut values = Vec::new();
            for x in read(inputs, input_count, "inputs")? {
                let x = read(x.data, x.length, "inputs[].data")?;
                values.push(slice::from_raw_parts(x.as_ptr().cast::<u8>(), size_of_val(x)));
            }
            h.model.run(rows, &values, &mut places(outputs, output_count)?)
        }
    })
}

/// Runs packed rows.
///
/// # Safety
/// As [`hypersonic_run`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hypersonic_run_packed(
    model: *mut Handle,
    rows: usize,
    inputs: *const ConstSpan<u8>,
    input_count: usize,
    outputs: *const Span<u8>,
    output_count: usize,
) -> c_uint {
    guarded(|| {
        // SAFETY: the caller's.
        unsafe {
            let h = handle(model)?;
            let inputs = read(inputs, input_count, "inputs")?.iter();
            let packed: Result<Vec<&[u8]>, Error> =
                inputs.map(|x| read(x.data, x.length, "inputs[].data")).collect();
            h.model.run_packed(rows, &packed?, &mut places(outputs, output_count)?)
        }
    })
}

/// # Safety
/// `outputs` is null or points to `count` entries, each null or room for as many values as it says.
unsafe fn places<'a, T>(outputs: *const Span<T>, count: usize) -> Result<Vec<&'a mut [T]>, Error> {
    // SAFETY: the caller's.
    let spans = unsafe { read(outputs, count, "outputs") }?.iter();
    // SAFETY: the caller's.
    spans.map(|y| unsafe { write(y.data, y.length, "outputs[].data") }).collect()
}
