//! Memory that a worker and its supervisor share.
#![expect(unsafe_code, reason = "maps memory")]

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
};

/// Shared memory, mapped. Who may use which bytes is said by the scheduler: a slot belongs to one step at a time.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory belongs to no thread; its bytes are reached through functions whose callers see to it that nobody
// else uses them.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// New memory of zeros, and the file for the other process.
    pub(crate) fn create(bytes: usize) -> io::Result<(Self, OwnedFd)> {
        // SAFETY: the name ends in NUL.
        let fd = unsafe { libc::memfd_create(c"hypersonic-card".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = File::from(fd);
        file.set_len(bytes as u64)?;
        let fd = OwnedFd::from(file);
        Ok((Self::open(&fd, bytes)?, fd))
    }

    /// Maps the memory in a file of so many bytes.
    pub(crate) fn open(fd: &OwnedFd, bytes: usize) -> io::Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, anywhere; the length is not zero, else the call fails.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { base, bytes })
    }

    fn at(&self, range: &Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} of {}", self.bytes);
        // SAFETY: inside of the mapping.
        unsafe { self.base.as_ptr().add(range.start) }
    }

    /// Bytes to be read.
    ///
    /// # Safety
    /// Nobody writes them, in either process, while the result lives.
    pub(crate) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: mapped while this lives; the caller's promise.
        unsafe { std::slice::from_raw_parts(self.at(&range), range.len()) }
    }

    /// Bytes to be written.
    ///
    /// # Safety
    /// Nobody else reads or writes them, in either process, while the result lives.
    #[expect(clippy::mut_from_ref, reason = "parts of the memory are written by several threads at a time")]
    pub(crate) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        // SAFETY: mapped while this lives; the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(&range), range.len()) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length; no slice of it outlives this.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same_bytes() {
        let (a, fd) = Arena::create(8192).unwrap();
        let b = Arena::open(&fd, 8192).unwrap();
        // SAFETY: nobody else has them.
        unsafe { a.bytes_mut(100..103) }.copy_from_slice(b"abc");
        // SAFETY: as above.
        assert_eq!(unsafe { b.bytes(99..104) }, b"\0abc\0");
    }

    #[test]
    fn there_is_no_memory_of_no_bytes() {
        assert!(Arena::create(0).is_err());
    }

    #[test]
    #[should_panic(expected = "of 4096")]
    fn nothing_is_reached_outside() {
        let (a, _fd) = Arena::create(4096).unwrap();
        // SAFETY: nobody else has them.
        let _: &[u8] = unsafe { a.bytes(4000..4097) };
    }
}
