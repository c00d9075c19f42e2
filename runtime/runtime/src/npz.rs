//! NumPy's `.npz` archives: a zip file of `.npy` members, stored or deflated.

use std::{
    collections::HashSet,
    io::{self, Read, Seek, Write},
    path::Path,
};

use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{
    Tensor,
    npy::{self, FileError, NpyError},
};

/// An archive that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a zip file, or a broken one.
    #[error("not a readable .npz file: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// A member that is no tensor.
    #[error("'{name}': {source}")]
    Member {
        /// Name of the member.
        name: String,
        /// What is wrong.
        source: NpyError,
    },
    /// A member whose name does not end in `.npy`.
    #[error("'{0}' is not a .npy member")]
    Name(String),
    /// Two tensors of one name.
    #[error("two tensors are called '{0}'")]
    Duplicate(String),
}

/// Reads the tensors of a file, with their names, in the archive's order.
pub fn load(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, FileError<NpzError>> {
    let path = path.as_ref();
    let read = || read(io::BufReader::new(std::fs::File::open(path)?));
    read().map_err(|source| FileError { path: path.to_owned(), source })
}

/// Writes a file, over an existing one; tensors in the order given, uncompressed.
pub fn save<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), FileError<NpzError>> {
    let path = path.as_ref();
    let write = || write(io::BufWriter::new(std::fs::File::create(path)?), tensors);
    write().map_err(|source| FileError { path: path.to_owned(), source })
}

/// Reads the tensors of an archive, with their names, in the archive's order.
pub fn read(r: impl Read + Seek) -> Result<Vec<(String, Tensor)>, NpzError> {
    let mut archive = ZipArchive::new(r)?;
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for i in 0..archive.len() {
        let member = archive.by_index(i)?;
        let file = member.name()?.into_owned();
        let Some(name) = file.strip_suffix(".npy") else { return Err(NpzError::Name(file)) };
        if !names.insert(name.to_owned()) {
            return Err(NpzError::Duplicate(name.to_owned()));
        }
        let tensor =
            npy::read(member).map_err(|source| NpzError::Member { name: name.to_owned(), source })?;
        tensors.push((name.to_owned(), tensor));
    }
    Ok(tensors)
}

/// Writes an archive; tensors in the order given, uncompressed. The same tensors give the same bytes.
pub fn write<'a>(
    w: impl Write + Seek,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), NpzError> {
    let mut archive = ZipWriter::new(w);
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        if !names.insert(name) {
            return Err(NpzError::Duplicate(name.to_owned()));
        }
        let large = tensor.data().len() * tensor.dtype().bytes() > (1 << 31);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(large);
        archive.start_file(format!("{name}.npy"), options)?;
        npy::write(&mut archive, tensor)?;
    }
    archive.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut w = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            w.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            w.write_all(bytes).unwrap();
        }
        w.finish().unwrap().into_inner()
    }

    fn npy_bytes(t: &Tensor) -> Vec<u8> {
        let mut f = Vec::new();
        npy::write(&mut f, t).unwrap();
        f
    }

    #[test]
    fn names_and_order_survive() {
        let (a, b) = (Tensor::of([2], vec![1i64, 2]).unwrap(), Tensor::of([1, 1], vec![0.5f32]).unwrap());
        let mut file = Cursor::new(Vec::new());
        write(&mut file, [("z/in put", &a), ("b", &b)]).unwrap();
        let mut again = Cursor::new(Vec::new());
        write(&mut again, [("z/in put", &a), ("b", &b)]).unwrap();
        assert_eq!(file.get_ref(), again.get_ref());
        assert_eq!(read(file).unwrap(), [("z/in put".to_owned(), a), ("b".to_owned(), b)]);
    }

    #[test]
    fn deflated_members_are_read() {
        let t = Tensor::of([300], vec![7u16; 300]).unwrap();
        let file = archive(&[("x.npy", &npy_bytes(&t))], CompressionMethod::Deflated);
        assert!(file.len() < 400, "not compressed: {}", file.len());
        assert_eq!(read(Cursor::new(file)).unwrap(), [("x".to_owned(), t)]);
    }

    #[test]
    fn bad_archives_are_refused() {
        let t = npy_bytes(&Tensor::of([1], vec![7u8]).unwrap());
        let error = |f: Vec<u8>| read(Cursor::new(f)).unwrap_err().to_string();
        assert!(error(b"not a zip".to_vec()).contains("not a readable .npz"));
        assert!(error(archive(&[("x.txt", b"hi")], CompressionMethod::Stored)).contains("'x.txt'"));
        assert!(error(archive(&[("x.npy", b"hi")], CompressionMethod::Stored)).contains("'x': not a .npy"));
        let mut cut = archive(&[("x.npy", &t)], CompressionMethod::Deflated);
        cut.truncate(cut.len() / 2);
        assert!(error(cut).contains("not a readable"));
        let one = Tensor::of([1], vec![7u8]).unwrap();
        let twice = write(Cursor::new(Vec::new()), [("x", &one), ("x", &one)]).unwrap_err();
        assert!(twice.to_string().contains("two tensors"));
    }
}
