//! Memory that clients share with the server: POSIX shared memory, registered by name.
//!
//! Nothing is mapped: a client may cut its object short at any time, which would end a server that reads the mapping, or
//! change it while it is read. The object is read as the file that it is, by whoever needs its bytes, a few rows at a
//! time where that can be; what is wrong with it is an error then.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use hs_runtime::{Payload, Source};

use crate::{Code, ServeError};

/// Where POSIX shared memory objects are files.
const DIRECTORY: &str = "/dev/shm";
/// Regions at most: each is an open file.
const MAX_REGIONS: usize = 4096;
/// Bytes that are read or written at a time at most.
const MAX_BYTES: u64 = 2 << 30;
/// Bytes of memory at most that are kept for the next reads, and of a piece at least: small ones cost little.
const SPARE: usize = 64 << 20;
const SPARE_PIECE: usize = 64 << 10;

/// A registered region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Name that requests use.
    pub name: String,
    /// POSIX key, `/name`.
    pub key: String,
    /// Offset of the region within the object, in bytes.
    pub offset: u64,
    /// Size of the region, in bytes.
    pub byte_size: u64,
}

/// The registered regions.
#[derive(Debug)]
pub struct SharedMemory {
    allowed: bool,
    regions: RwLock<BTreeMap<String, Arc<Open>>>,
    spare: Arc<Spare>,
}

/// Memory that was read into and is free again: fresh pages cost more than what is read into them.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

/// What was read; its memory is spare afterwards.
struct Loan {
    data: Vec<u8>,
    home: Arc<Spare>,
}

impl Spare {
    /// Memory of `size` bytes of whatever content; new one where none of about that size is spare.
    fn take(&self, size: usize) -> Vec<u8> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |data: &Vec<u8>| (size..=size.saturating_mul(2)).contains(&data.capacity());
        let found = spare.iter().position(fits).map(|at| spare.swap_remove(at));
        drop(spare);
        let mut data = found.unwrap_or_else(|| vec![0; size]);
        data.resize(size, 0);
        data
    }

    /// Keeps memory, what has been kept longest for it being given up.
    fn keep(&self, data: Vec<u8>) {
        if data.capacity() < SPARE_PIECE {
            return;
        }
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(data);
        while spare.iter().map(Vec::capacity).sum::<usize>() > SPARE {
            spare.remove(0);
        }
    }
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.home.keep(std::mem::take(&mut self.data));
    }
}

#[derive(Debug)]
struct Open {
    region: Region,
    file: File,
}

impl SharedMemory {
    /// No region. `allowed`: whether clients may register any.
    pub fn new(allowed: bool) -> Self {
        Self { allowed, regions: RwLock::default(), spare: Arc::default() }
    }

    /// Registers `byte_size` bytes at `offset` of the object `key`.
    ///
    /// # Errors
    /// [`Code::Unsupported`] where that is not allowed, [`Code::AlreadyExists`] for a name that is taken, and
    /// [`Code::InvalidArgument`] for keys that name no object that can be read and written, and for regions that do
    /// not lie in it.
    pub fn register(&self, region: Region) -> Result<(), ServeError> {
        if !self.allowed {
            return Err(ServeError::new(
                Code::Unsupported,
                "shared memory of clients is not allowed; start the server with --allow-client-shm true",
            ));
        }
        let Region { name, key, offset, byte_size } = &region;
        if name.is_empty() {
            return Err(ServeError::invalid("a shared memory region needs a name"));
        }
        let taken = || {
            ServeError::new(Code::AlreadyExists, format!("shared memory region '{name}' already in manager"))
        };
        if self.find(name).is_ok() {
            return Err(taken());
        }
        let unable = |why: &str| {
            ServeError::invalid(format!(
                "Unable to open shared memory region: '{}': {why}",
                key.escape_debug()
            ))
        };
        let path =
            object(key).ok_or_else(|| unable("expected a key such as /name, without a further slash"))?;
        let (file, size) = open(&path).map_err(|e| unable(&e.to_string()))?;
        let end = offset.checked_add(*byte_size);
        if *byte_size == 0 || end.is_none_or(|end| end > size) {
            return Err(ServeError::invalid(format!(
                "failed to register shared memory region '{name}': {byte_size} bytes at offset {offset}, but '{key}' \
                 has {size}"
            )));
        }
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        if regions.contains_key(name) {
            return Err(taken());
        }
        if regions.len() >= MAX_REGIONS {
            return Err(ServeError::unavailable(format!(
                "there are {MAX_REGIONS} shared memory regions already; unregister some"
            )));
        }
        regions.insert(name.clone(), Arc::new(Open { region, file }));
        Ok(())
    }

    /// Forgets the region, or all when `name` is empty; an unknown one is no error.
    pub fn unregister(&self, name: &str) -> Result<(), ServeError> {
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        if name.is_empty() {
            regions.clear();
        } else {
            regions.remove(name);
        }
        Ok(())
    }

    /// The region, or all by name when `name` is empty.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn status(&self, name: &str) -> Result<Vec<Region>, ServeError> {
        if !name.is_empty() {
            return Ok(vec![self.find(name)?.region.clone()]);
        }
        let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
        Ok(regions.values().map(|open| open.region.clone()).collect())
    }

    /// `byte_size` bytes at `offset` of a region, to be read as they are then; also when the region has been
    /// unregistered meanwhile. An object that has become shorter gives an error then.
    ///
    /// # Errors
    /// [`Code::NotFound`], and [`Code::InvalidArgument`] for bytes outside of the region.
    pub fn payload(&self, name: &str, offset: u64, byte_size: u64) -> Result<Payload, ServeError> {
        let open = self.find(name)?;
        let (at, size) = open.place(offset, byte_size)?;
        Ok(Payload::Source(Arc::new(Part { open, at, size, spare: Arc::clone(&self.spare) })))
    }

    /// Writes `data` at `offset` of a region, into the `byte_size` bytes that the request set apart.
    ///
    /// # Errors
    /// As [`payload`](Self::payload), and [`Code::InvalidArgument`] for more data than bytes, and for an object that has
    /// become shorter.
    pub fn write(&self, name: &str, offset: u64, byte_size: u64, data: &[u8]) -> Result<(), ServeError> {
        let open = self.find(name)?;
        let (at, size) = open.place(offset, byte_size)?;
        if data.len() > size {
            return Err(ServeError::invalid(format!(
                "the output has {} bytes, but the request set {size} apart in shared memory region '{name}'",
                data.len()
            )));
        }
        open.file.write_all_at(data, at).map_err(|e| ServeError::invalid(open.failed("write", &e)))
    }

    fn find(&self, name: &str) -> Result<Arc<Open>, ServeError> {
        let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
        let found = regions.get(name).cloned();
        found.ok_or_else(|| {
            ServeError::not_found(format!("Unable to find shared memory region: '{}'", name.escape_debug()))
        })
    }
}

impl Open {
    /// Offset within the object and size of a part of the region.
    fn place(&self, offset: u64, byte_size: u64) -> Result<(u64, usize), ServeError> {
        let Region { name, byte_size: whole, .. } = &self.region;
        let inside = offset.checked_add(byte_size).is_some_and(|end| end <= *whole);
        match usize::try_from(byte_size) {
            Ok(size) if inside && byte_size <= MAX_BYTES => Ok((self.region.offset + offset, size)),
            _ => Err(ServeError::invalid(format!(
                "Invalid offset for shared memory region: '{name}': {byte_size} bytes at {offset} of {whole}"
            ))),
        }
    }

    fn failed(&self, what: &str, e: &io::Error) -> String {
        let Region { name, key, .. } = &self.region;
        let why = if e.kind() == io::ErrorKind::UnexpectedEof {
            "the object has become shorter".to_owned()
        } else {
            e.to_string()
        };
        format!("cannot {what} shared memory region '{name}' ('{key}'): {why}")
    }
}

/// Some bytes of a region.
#[derive(Debug)]
struct Part {
    open: Arc<Open>,
    /// Their place in the object.
    at: u64,
    size: usize,
    spare: Arc<Spare>,
}

impl Source for Part {
    fn size(&self) -> usize {
        self.size
    }

    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), String> {
        assert!(at <= self.size && to.len() <= self.size - at, "{} bytes at {at} of {}", to.len(), self.size);
        let read = self.open.file.read_exact_at(to, self.at + at as u64);
        read.map_err(|e| self.open.failed("read", &e))
    }

    fn fetch(&self, range: Range<usize>) -> Result<Bytes, String> {
        let mut loan = Loan { data: self.spare.take(range.len()), home: Arc::clone(&self.spare) };
        self.read(range.start, &mut loan.data)?;
        Ok(Bytes::from_owner(loan))
    }
}

/// The file of a POSIX key.
fn object(key: &str) -> Option<PathBuf> {
    let name = key.strip_prefix('/').unwrap_or(key);
    let plain =
        !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(['/', '\0']);
    plain.then(|| Path::new(DIRECTORY).join(name))
}

/// Opens an object for reading and writing; its size.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let no_object = || io::Error::other("it is no shared memory object");
    let before = fs::symlink_metadata(path)?;
    if !before.is_file() {
        return Err(no_object());
    }
    let file = File::options().read(true).write(true).open(path)?;
    // Everybody may write to the directory: what was opened must be what was looked at, not where a link leads.
    let after = file.metadata()?;
    if (before.dev(), before.ino()) != (after.dev(), after.ino()) {
        return Err(no_object());
    }
    Ok((file, after.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object in shared memory, removed with the value.
    struct Object(PathBuf);

    impl Object {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = Path::new(DIRECTORY).join(format!("hs-test-{}-{name}", std::process::id()));
            fs::write(&path, bytes).unwrap();
            Self(path)
        }

        fn key(&self) -> String {
            format!("/{}", self.0.file_name().unwrap().to_str().unwrap())
        }

        fn region(&self, name: &str, offset: u64, byte_size: u64) -> Region {
            Region { name: name.to_owned(), key: self.key(), offset, byte_size }
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn read(shm: &SharedMemory, name: &str, offset: u64, byte_size: u64) -> Result<Bytes, ServeError> {
        let Payload::Source(part) = shm.payload(name, offset, byte_size)? else {
            panic!("nothing is read yet")
        };
        assert_eq!(part.size() as u64, byte_size);
        part.fetch(0..part.size()).map_err(ServeError::invalid)
    }

    fn code<T: std::fmt::Debug>(result: Result<T, ServeError>) -> (Code, String) {
        let e = result.unwrap_err();
        (e.code, e.message)
    }

    #[test]
    fn bytes_go_in_and_out() {
        let object = Object::new("io", b"0123456789");
        let shm = SharedMemory::new(true);
        shm.register(object.region("b", 2, 6)).unwrap();
        shm.register(object.region("a", 0, 10)).unwrap();
        assert_eq!(read(&shm, "b", 1, 3).unwrap(), b"345"[..]);
        assert_eq!(read(&shm, "b", 6, 0).unwrap(), b""[..]);
        shm.write("b", 4, 2, b"x").unwrap();
        assert_eq!(fs::read(&object.0).unwrap(), b"012345x789");
        let names = |name: &str| shm.status(name).unwrap().into_iter().map(|r| r.name).collect::<Vec<_>>();
        assert_eq!((names(""), names("b")), (vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()]));
        shm.unregister("never").unwrap();
        shm.unregister("a").unwrap();
        assert_eq!(names(""), ["b"]);
        shm.unregister("").unwrap();
        assert_eq!(names(""), Vec::<String>::new());
        let expected = (Code::NotFound, "Unable to find shared memory region: 'b'".to_owned());
        assert_eq!(code(read(&shm, "b", 0, 1)), expected);
        assert_eq!(code(shm.status("b")), expected);
    }

    #[test]
    fn memory_is_used_again_up_to_a_bound() {
        let spare = Arc::new(Spare::default());
        let loan = |size: usize| Loan { data: spare.take(size), home: Arc::clone(&spare) };
        let kept = || spare.0.lock().unwrap().iter().map(Vec::capacity).sum::<usize>();
        let first = loan(10 * SPARE_PIECE);
        let at = first.data.as_ptr();
        drop(first);
        let again = loan(9 * SPARE_PIECE);
        assert_eq!((again.data.as_ptr(), again.as_ref().len(), kept()), (at, 9 * SPARE_PIECE, 0));
        // It is too large for so few, and too small for more.
        drop(again);
        assert_ne!(loan(SPARE_PIECE).data.as_ptr(), at);
        assert_ne!(loan(11 * SPARE_PIECE).data.as_ptr(), at);
        let before = spare.0.lock().unwrap().len();
        drop((loan(0), loan(1)));
        assert_eq!(spare.0.lock().unwrap().len(), before);
        for _ in 0..3 {
            drop((loan(SPARE / 2), loan(SPARE / 2), loan(SPARE / 2 + 1)));
            assert!(kept() <= SPARE, "{}", kept());
        }
        drop(loan(SPARE + 1));
        assert_eq!(kept(), 0);
    }

    #[test]
    fn what_is_outside_is_refused() {
        let object = Object::new("bounds", &[0; 16]);
        let shm = SharedMemory::new(true);
        for (offset, size) in [(0, 17), (16, 1), (17, 0), (0, 0), (u64::MAX, 1), (1, u64::MAX)] {
            let (code, message) = code(shm.register(object.region("r", offset, size)));
            assert_eq!(code, Code::InvalidArgument);
            assert!(message.contains("'r'") && message.contains("has 16"), "{message}");
        }
        shm.register(object.region("r", 8, 8)).unwrap();
        let taken = (Code::AlreadyExists, "shared memory region 'r' already in manager".to_owned());
        assert_eq!(code(shm.register(object.region("r", 0, 4))), taken);
        for (offset, size) in [(0, 9), (8, 1), (u64::MAX, 1), (1, u64::MAX)] {
            let (kind, message) = code(read(&shm, "r", offset, size));
            assert_eq!(kind, Code::InvalidArgument);
            assert!(message.starts_with("Invalid offset for shared memory region: 'r'"), "{message}");
            assert_eq!(code(shm.write("r", offset, size, b"")).0, Code::InvalidArgument);
        }
        assert_eq!(code(shm.write("r", 0, 4, b"12345")).0, Code::InvalidArgument);
        assert_eq!(fs::read(&object.0).unwrap(), [0; 16]);
        // A client that cuts its object short gets an error, and the server lives.
        File::options().write(true).open(&object.0).unwrap().set_len(10).unwrap();
        let (kind, message) = code(read(&shm, "r", 0, 8));
        assert_eq!(kind, Code::InvalidArgument);
        assert!(message.contains("has become shorter"), "{message}");
        assert_eq!(read(&shm, "r", 0, 2).unwrap(), [0; 2][..]);
    }

    #[test]
    fn keys_name_objects_and_nothing_else() {
        let object = Object::new("keys", &[0; 16]);
        let link = Object::new("link", b"");
        fs::remove_file(&link.0).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &link.0).unwrap();
        let shm = SharedMemory::new(true);
        let link = link.key();
        let keys =
            ["", "/", "/.", "/..", "/../etc/passwd", "//etc/passwd", "/a/b", "/never-made", "/a\0b", &link];
        for key in keys {
            let region = Region { key: key.to_owned(), ..object.region("r", 0, 1) };
            let (kind, message) = code(shm.register(region));
            assert_eq!(kind, Code::InvalidArgument, "{key:?}");
            assert!(message.starts_with("Unable to open shared memory region: '"), "{message}");
        }
        let bare = Region { key: object.key()[1..].to_owned(), ..object.region("r", 0, 16) };
        shm.register(bare).unwrap();
        assert_eq!(code(shm.register(object.region("", 0, 16))).0, Code::InvalidArgument);
    }

    #[test]
    fn off_unless_allowed() {
        let object = Object::new("off", &[0; 16]);
        let shm = SharedMemory::new(false);
        let (kind, message) = code(shm.register(object.region("r", 0, 16)));
        assert_eq!(kind, Code::Unsupported);
        assert!(message.contains("--allow-client-shm"), "{message}");
        assert_eq!(shm.status("").unwrap(), []);
        shm.unregister("").unwrap();
    }
}
