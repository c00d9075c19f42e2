//! NumPy's `.npy` files, format versions 1 to 3.
//!
//! Source: numpy.lib.format's documentation. Strict: the header must be exactly NumPy's dictionary, elements
//! little-endian, and the file as long as the shape says. Fortran order is read and turned into C order.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{Data, Dtype, Tensor, tensor::elements};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read; NumPy's own are about 100 bytes.
const MAX_HEADER: usize = 1 << 16;
/// Most axes NumPy has.
const MAX_RANK: usize = 64;
/// Bytes are asked for in portions of this size, so that a lying shape costs no memory.
const PORTION: usize = 1 << 20;

/// A file that is no tensor of ours.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a `.npy` file at all.
    #[error("not a .npy file: it does not begin with \\x93NUMPY; write it with numpy.save")]
    Magic,
    /// A version that does not exist yet.
    #[error("format version {0}.{1} of .npy; versions 1 to 3 are read")]
    Version(u8, u8),
    /// The header is not NumPy's dictionary.
    #[error("bad .npy header: {what} at byte {at} of {header:?}")]
    Header {
        /// What was expected.
        what: &'static str,
        /// Where.
        at: usize,
        /// The header.
        header: String,
    },
    /// Elements that we have no type for.
    #[error("elements of type '{descr}'{}; convert with .astype('float32')", big_endian(descr))]
    Descr {
        /// NumPy's name of the type.
        descr: String,
    },
    /// More elements than can be addressed.
    #[error("shape {0:?} is too large")]
    Shape(Vec<usize>),
    /// The file ends early or goes on.
    #[error("shape {shape:?} of {dtype} needs {needed} bytes of data, the file has {}", if *found > *needed { "more".to_owned() } else { found.to_string() })]
    Length {
        /// The header's shape.
        shape: Vec<usize>,
        /// The header's type.
        dtype: Dtype,
        /// Bytes by the header.
        needed: usize,
        /// Bytes found; one more than needed stands for any larger number.
        found: usize,
    },
    /// A byte other than 0 and 1 among booleans.
    #[error("element {0} of a bool tensor is neither 0 nor 1")]
    Bool(usize),
}

fn big_endian(descr: &str) -> &'static str {
    if descr.starts_with('>') { " are big-endian" } else { " are not supported" }
}

/// An error and the file it happened in.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError<E: std::error::Error + 'static> {
    /// The file.
    pub path: PathBuf,
    /// What happened.
    pub source: E,
}

/// Reads a file.
pub fn load(path: impl AsRef<Path>) -> Result<Tensor, FileError<NpyError>> {
    let path = path.as_ref();
    let read = || read(io::BufReader::new(std::fs::File::open(path)?));
    read().map_err(|source| FileError { path: path.to_owned(), source })
}

/// Writes a file, over an existing one.
pub fn save(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), FileError<NpyError>> {
    let path = path.as_ref();
    let write = || {
        let mut w = io::BufWriter::new(std::fs::File::create(path)?);
        write(&mut w, tensor)?;
        w.flush()
    };
    write().map_err(|e| FileError { path: path.to_owned(), source: e.into() })
}

/// Reads one tensor, to the end of `r`.
pub fn read(mut r: impl Read) -> Result<Tensor, NpyError> {
    let mut start = [0; 8];
    let got = fill(&mut r, &mut start)?;
    if got < 6 || &start[..6] != MAGIC {
        return Err(NpyError::Magic);
    }
    let header_len = match start[6] {
        1 => {
            let mut len = [0; 2];
            r.read_exact(&mut len)?;
            usize::from(u16::from_le_bytes(len))
        }
        2 | 3 => {
            let mut len = [0; 4];
            r.read_exact(&mut len)?;
            u32::from_le_bytes(len) as usize
        }
        v => return Err(NpyError::Version(v, start[7])),
    };
    if header_len > MAX_HEADER {
        let what = "a header of at most 65536 bytes";
        return Err(NpyError::Header { what, at: 0, header: format!("({header_len} bytes)") });
    }
    let mut text = vec![0; header_len];
    r.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let header = Parser { text: &text, at: 0 }.header()?;
    body(r, header)
}

struct Header {
    dtype: Dtype,
    fortran: bool,
    shape: Vec<usize>,
}

fn body(r: impl Read, Header { dtype, fortran, shape }: Header) -> Result<Tensor, NpyError> {
    let count = elements(&shape).filter(|_| shape.len() <= MAX_RANK);
    let needed = count.and_then(|n| n.checked_mul(dtype.bytes())).filter(|n| isize::try_from(*n).is_ok());
    let (Some(_), Some(needed)) = (count, needed) else { return Err(NpyError::Shape(shape)) };
    let mut bytes = Vec::with_capacity(needed.min(PORTION));
    // One more byte than needed shows whether the data goes on.
    r.take(needed as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() != needed {
        return Err(NpyError::Length { shape, dtype, needed, found: bytes.len() });
    }
    if dtype == Dtype::Bool
        && let Some(at) = bytes.iter().position(|b| *b > 1)
    {
        return Err(NpyError::Bool(at));
    }
    let mut data = Data::from_le_bytes(dtype, &bytes);
    drop(bytes);
    if fortran && shape.len() > 1 {
        data = data.gather(fortran_order(&shape));
    }
    Ok(Tensor::new(shape, data).expect("as many elements as the shape has"))
}

/// For each element in C order its index in Fortran order.
fn fortran_order(shape: &[usize]) -> impl Iterator<Item = usize> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1usize;
    for d in shape {
        strides.push(stride);
        stride *= d;
    }
    let shape = shape.to_vec();
    let mut at = vec![0; shape.len()];
    (0..stride).map(move |_| {
        let flat = at.iter().zip(&strides).map(|(i, s)| i * s).sum();
        for axis in (0..shape.len()).rev() {
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
        flat
    })
}

/// Reads as much of `buffer` as there is.
fn fill(r: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match r.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Writes one tensor: version 1, or 2 where the header needs it.
pub fn write(w: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    let shape = match tensor.shape() {
        [one] => format!("({one},)"),
        many => format!("({})", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut header =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", tensor.dtype().descr());
    let long = header.len() > 60_000;
    let before = if long { 12 } else { 10 };
    // Padded so that the data begins at a multiple of 64 bytes, as NumPy does.
    let unpadded = before + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    w.write_all(MAGIC)?;
    if long {
        w.write_all(&[2, 0])?;
        w.write_all(&(header.len() as u32).to_le_bytes())?;
    } else {
        w.write_all(&[1, 0])?;
        w.write_all(&(header.len() as u16).to_le_bytes())?;
    }
    w.write_all(header.as_bytes())?;
    let mut bytes = Vec::with_capacity(tensor.data().len() * tensor.dtype().bytes());
    tensor.data().to_le_bytes(&mut bytes);
    w.write_all(&bytes)
}

/// A parser of the header's Python dictionary.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, what: &'static str) -> Result<T, NpyError> {
        let header = self.text.trim_end().chars().take(200).collect();
        Err(NpyError::Header { what, at: self.at, header })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &'static str, what: &'static str) -> Result<(), NpyError> {
        if self.eat(token) { Ok(()) } else { self.fail(what) }
    }

    fn string(&mut self) -> Result<&'a str, NpyError> {
        let quote = match () {
            () if self.eat("'") => '\'',
            () if self.eat("\"") => '"',
            () => return self.fail("a string"),
        };
        let rest = self.rest();
        let Some(end) = rest.find(quote) else { return self.fail("the end of a string") };
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn number(&mut self) -> Result<usize, NpyError> {
        self.skip_space();
        let rest = self.rest();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Ok(n) = rest[..digits].parse() else { return self.fail("a size that fits 64 bits") };
        self.at += digits;
        // Python 2 wrote long integers with a suffix.
        let _ = self.eat("L");
        Ok(n)
    }

    fn shape(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect("(", "a tuple")?;
        let mut shape = Vec::new();
        let mut comma = true;
        while !self.eat(")") {
            if !comma {
                return self.fail("a comma");
            }
            shape.push(self.number()?);
            comma = self.eat(",");
            if shape.len() == 1 && !comma {
                return self.fail("a comma after a single size");
            }
        }
        Ok(shape)
    }

    fn header(mut self) -> Result<Header, NpyError> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect("{", "a dictionary")?;
        let mut comma = true;
        while !self.eat("}") {
            if !comma {
                return self.fail("a comma");
            }
            let key = self.string()?;
            self.expect(":", "a colon")?;
            match key {
                "descr" if descr.is_none() => {
                    self.skip_space();
                    if self.rest().starts_with('[') {
                        return Err(NpyError::Descr { descr: "structured".to_owned() });
                    }
                    descr = Some(self.string()?);
                }
                "fortran_order" if fortran.is_none() => {
                    fortran = Some(match () {
                        () if self.eat("False") => false,
                        () if self.eat("True") => true,
                        () => return self.fail("True or False"),
                    });
                }
                "shape" if shape.is_none() => shape = Some(self.shape()?),
                _ => return self.fail("one each of the keys descr, fortran_order and shape"),
            }
            comma = self.eat(",");
        }
        self.skip_space();
        if !self.rest().is_empty() {
            return self.fail("nothing after the dictionary");
        }
        let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
            return self.fail("the keys descr, fortran_order and shape");
        };
        let Some(dtype) = Dtype::ALL.iter().find(|d| same_type(d.descr(), descr)) else {
            return Err(NpyError::Descr { descr: descr.to_owned() });
        };
        Ok(Header { dtype: *dtype, fortran, shape })
    }
}

/// Single bytes have no order, so any order mark will do for them; others must be `<`.
fn same_type(ours: &str, descr: &str) -> bool {
    let unmarked = |s: &str| s.trim_start_matches(['<', '|', '>', '=']).to_owned();
    ours == descr || ours.starts_with('|') && descr.len() == 3 && ours[1..] == unmarked(descr)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut f = MAGIC.to_vec();
        f.extend([version, 0]);
        if version == 1 {
            f.extend((header.len() as u16).to_le_bytes());
        } else {
            f.extend((header.len() as u32).to_le_bytes());
        }
        f.extend(header.as_bytes());
        f.extend(data);
        f
    }

    fn error(header: &str, data: &[u8]) -> String {
        read(&file(1, header, data)[..]).unwrap_err().to_string()
    }

    #[test]
    fn layout_is_numpys() {
        let t = Tensor::of([2], vec![1.0f32, -2.0]).unwrap();
        let mut f = Vec::new();
        write(&mut f, &t).unwrap();
        assert_eq!(f.len(), 128 + 8);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(&f[10..10 + header.len()], header.as_bytes());
        assert_eq!(f[127], b'\n');
        assert_eq!(&f[128..], [0, 0, 128, 63, 0, 0, 0, 192]);
    }

    #[test]
    fn both_orders_and_all_versions() {
        let want = Tensor::of([2, 3], vec![0i16, 1, 2, 3, 4, 5]).unwrap();
        let bytes = |v: [i16; 6]| v.iter().flat_map(|e| e.to_le_bytes()).collect::<Vec<_>>();
        let c = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n";
        let f = "{\"shape\": (2,3), 'fortran_order': True, 'descr': '<i2'}";
        for version in 1..=3 {
            assert_eq!(read(&file(version, c, &bytes([0, 1, 2, 3, 4, 5]))[..]).unwrap(), want);
            assert_eq!(read(&file(version, f, &bytes([0, 3, 1, 4, 2, 5]))[..]).unwrap(), want);
        }
        let scalar =
            read(&file(1, "{'descr': '|u1', 'fortran_order': False, 'shape': ()}", &[7])[..]).unwrap();
        assert_eq!(scalar, Tensor::of([], vec![7u8]).unwrap());
    }

    #[test]
    fn lies_are_refused() {
        let h = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}");
        assert!(error(&h("(1000000000000000,)"), &[0; 8]).contains("the file has 8"));
        assert!(error(&h("(4611686018427387904, 2)"), &[]).contains("too large"));
        assert!(error(&h("(2305843009213693952,)"), &[]).contains("too large"));
        assert!(error(&h("(99999999999999999999,)"), &[]).contains("fits 64 bits"));
        assert!(error(&h("(-1,)"), &[]).contains("a size"));
        assert!(error(&h("(1)"), &[0; 4]).contains("comma"));
        assert!(error(&h("(1,)"), &[0; 5]).contains("the file has more"));
        assert!(error(&h("(0, 9223372036854775807)"), &[0]).contains("the file has more"));
        assert!(error(&h("(1,), 'x': 1"), &[0; 4]).contains("one each of the keys"));
        assert!(error(&format!("{} junk", h("(1,)")), &[0; 4]).contains("nothing after"));
        assert!(error("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", &[]).contains("big-endian"));
        assert!(
            error("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", &[]).contains("not supported")
        );
        assert!(
            error("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", &[]).contains("struct")
        );
        assert!(error("{'descr': '<f4', 'shape': (1,)}", &[]).contains("the keys"));
        assert!(
            error("{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", &[1, 2]).contains("element 1")
        );
        assert!(read(&b"PK\x03\x04"[..]).unwrap_err().to_string().contains("not a .npy file"));
        assert!(read(&file(9, "", &[])[..]).unwrap_err().to_string().contains("version 9.0"));
        let mut huge = MAGIC.to_vec();
        huge.extend([2, 0, 255, 255, 255, 255]);
        assert!(read(&huge[..]).unwrap_err().to_string().contains("at most 65536"));
    }

    #[test]
    fn files_say_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        let t = Tensor::of([1, 2], vec![1.5f64, 2.5]).unwrap();
        save(&path, &t).unwrap();
        assert_eq!(load(&path).unwrap(), t);
        let gone = load(dir.path().join("gone.npy")).unwrap_err().to_string();
        assert!(gone.contains("gone.npy: "), "{gone}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            shape in prop::collection::vec(0usize..5, 0..4), kind in 0..Dtype::ALL.len(), seed: u8,
        ) {
            let dtype = Dtype::ALL[kind];
            let n = elements(&shape).unwrap() * dtype.bytes();
            let byte = |i: usize| (i as u8).wrapping_mul(37).wrapping_add(seed);
            let bytes: Vec<u8> = (0..n).map(|i| if dtype == Dtype::Bool { byte(i) & 1 } else { byte(i) }).collect();
            let t = Tensor::new(shape, Data::from_le_bytes(dtype, &bytes)).unwrap();
            let mut f = Vec::new();
            write(&mut f, &t).unwrap();
            let back = read(&f[..]).unwrap();
            let mut again = Vec::new();
            back.data().to_le_bytes(&mut again);
            prop_assert_eq!(back.shape(), t.shape());
            prop_assert_eq!(back.dtype(), dtype);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn noise_never_panics(noise: Vec<u8>, header in "[\\PC]{0,80}") {
            let _ = read(&noise[..]);
            let _ = read(&file(1, &header, &noise)[..]);
        }
    }
}
