//! The socket, and one call after another.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::call::{Answer, Call, HEADER, header};
use crate::card::Card;
use crate::{Image, Kernel};

/// The largest body of a call that is believed, in bytes. A host sends data in pieces of 8 MiB.
const MOST: u64 = 64 << 20;

/// Why a host cannot be served any longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("the socket to the host: {0}")]
    Io(#[from] io::Error),
    /// The host closed the socket within a call.
    #[error("the host closed the socket within a call")]
    Broken,
    /// What came is no call.
    #[error("the host sent no call: {0}")]
    NoCall(&'static str),
}

/// Where the host waits: `user` and `id` are its `USER` and `EMULATION_SOCKETID`.
pub fn socket(user: Option<&str>, id: &str) -> PathBuf {
    match user {
        Some(user) => Path::new("/tmp").join(user).join(id),
        None => PathBuf::from("/tmp/xcl_sock"),
    }
}

/// Connects to the host, which may open its socket after it has started this process.
pub fn connect(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if begin.elapsed() >= patience => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Answers a host's calls until it closes the card for good, or ends. After an error the process must `abort`. `load` makes
/// the kernel of an xclbin; with none, after it has said why, the host is told that the xclbin was not loaded.
pub fn serve(
    host: &mut (impl Read + Write),
    mut load: impl FnMut(&Image) -> Option<Arc<dyn Kernel>>,
) -> Result<(), Error> {
    let mut card = Card::default();
    let mut body = Vec::new();
    while let Some(number) = receive(host, &mut body)? {
        let call = Call::parse(number, &body).ok_or(Error::NoCall("its body is no message"))?;
        let last = call == Call::Close { end: true };
        host.write_all(&answer(call, &mut card, &mut load).to_bytes())?;
        if last {
            break;
        }
    }
    Ok(())
}

/// Reads a call's body, and gives the call's number; none where the host has ended.
fn receive(host: &mut impl Read, body: &mut Vec<u8>) -> Result<Option<u64>, Error> {
    let mut bytes = [0; HEADER];
    let mut read = 0;
    while read < HEADER {
        match host.read(&mut bytes[read..]) {
            Ok(0) if read == 0 => return Ok(None),
            Ok(0) => return Err(Error::Broken),
            Ok(count) => read += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset && read == 0 => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let (size, number) = header(&bytes).ok_or(Error::NoCall("its header is no message"))?;
    if size > MOST {
        return Err(Error::NoCall("it is larger than any call"));
    }
    body.clear();
    if host.take(size).read_to_end(body)? as u64 != size {
        return Err(Error::Broken);
    }
    Ok(Some(number))
}

fn answer(
    call: Call<'_>,
    card: &mut Card,
    load: &mut impl FnMut(&Image) -> Option<Arc<dyn Kernel>>,
) -> Answer {
    match call {
        Call::Close { .. } | Call::Other => Answer::Done(true),
        Call::Load { metadata, bitstream, banks } => {
            let kernel = load(&Image { metadata, bitstream, banks });
            let loaded = kernel.is_some();
            kernel.into_iter().for_each(|kernel| card.load(kernel));
            Answer::Done(loaded)
        }
        Call::Allocate { address, size } => Answer::Done(card.memory.allocate(address, size)),
        Call::Free { address } => Answer::Done(card.memory.free(address)),
        Call::ToCard { address, data } => {
            let written = card.memory.write(address, data);
            Answer::Copied(if written { data.len() as u64 } else { 0 })
        }
        Call::FromCard { address, size } => {
            let bytes = usize::try_from(size).ok().and_then(|size| card.memory.read(address, size));
            Answer::Bytes(bytes.unwrap_or_default())
        }
        Call::Write { address, data } => Answer::Done(card.write(address, data)),
        Call::Read { address, size } => Answer::Registers(card.read(address, size)),
        Call::WriteRegister { unit, offset, data } => {
            Answer::Done(unit.checked_add(offset).is_some_and(|at| card.write(at, data)))
        }
        Call::ReadRegister { unit, offset, size } => {
            Answer::Registers(unit.checked_add(offset).and_then(|at| card.read(at, size)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Fields, Message};
    use crate::{Memory, Registers};

    /// `y = 2 x`, for bytes: pointers at 0x10 and 0x1c, their number at 0x28.
    struct Twice;

    impl Kernel for Twice {
        fn run(&self, unit: u64, registers: &Registers, memory: &Memory) {
            assert_eq!(unit, UNIT);
            let mut bytes = memory.read(registers.u64(0x10), registers.u32(0x28) as usize).unwrap();
            bytes.iter_mut().for_each(|byte| *byte *= 2);
            assert!(memory.write(registers.u64(0x1c), &bytes));
        }
    }

    fn load(image: &Image) -> Option<Arc<dyn Kernel>> {
        (!image.banks.is_empty()).then(|| Arc::new(Twice) as Arc<dyn Kernel>)
    }

    const UNIT: u64 = 0x1_0000;

    fn call(number: u8, message: Message) -> Vec<u8> {
        let body = message.into_bytes();
        let mut bytes = Message::default().fixed64(1, body.len() as u64).into_bytes();
        bytes.extend([0x15, number, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    /// A socket whose other side has sent some bytes and ended.
    struct Host {
        sent: io::Cursor<Vec<u8>>,
        got: Vec<u8>,
    }

    impl Read for Host {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            // Sockets give less than one asks for.
            let some = to.len().min(5);
            self.sent.read(&mut to[..some])
        }
    }

    impl Write for Host {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.got.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn serve_calls(calls: &[Vec<u8>]) -> (Result<(), Error>, Vec<Vec<u8>>) {
        let mut host = Host { sent: io::Cursor::new(calls.concat()), got: Vec::new() };
        let result = serve(&mut host, load);
        let mut answers = Vec::new();
        let mut rest = &host.got[..];
        while let Some((header, after)) = rest.split_at_checked(9) {
            let (body, after) = after.split_at(Fields::parse(header).unwrap().number(1) as usize);
            answers.push(body.to_vec());
            rest = after;
        }
        (result, answers)
    }

    fn m() -> Message {
        Message::default()
    }

    fn registers(control: u8) -> Vec<u8> {
        let mut bytes = vec![0; 0x2c];
        bytes[0] = control;
        bytes[0x1c..0x24].copy_from_slice(&4096_u64.to_le_bytes());
        bytes[0x28] = 3;
        bytes
    }

    /// Sends a call, and gives the body of the answer.
    fn ask(host: &mut UnixStream, call: &[u8]) -> Vec<u8> {
        host.write_all(call).unwrap();
        let mut header = [0; 9];
        host.read_exact(&mut header).unwrap();
        let mut body = vec![0; Fields::parse(&header).unwrap().number(1) as usize];
        host.read_exact(&mut body).unwrap();
        body
    }

    #[test]
    fn a_run_is_calls_in_the_order_of_xrt() {
        let (mut host, mut process) = UnixStream::pair().unwrap();
        let serving = thread::spawn(move || serve(&mut process, load));
        let bank = m().number(7, 1 << 30).into_bytes();
        let mut ask = |number, message| ask(&mut host, &call(number, message));
        let read = || m().number(2, UNIT).number(3, 4);
        let (done, not_done) = (&b"\x08\x01"[..], &b"\x08\0"[..]);
        let status = |status: u8| [8, 1, 0x12, 4, status, 0, 0, 0];
        assert_eq!(ask(28, m()), done);
        assert_eq!(ask(3, m()), not_done, "there is no memory");
        assert_eq!(ask(3, m().bytes(1, b"x").bytes(2, b"b").bytes(8, &bank)), done);
        assert_eq!(ask(4, m().number(1, 0).number(2, 64)), done);
        assert_eq!(ask(4, m().number(1, 4096).number(2, 64)), done);
        assert_eq!(ask(6, m().number(3, 0).bytes(4, &[1, 2, 3]).number(5, 3)), b"\x08\x03");
        assert_eq!(ask(9, m().number(2, UNIT).bytes(4, &registers(0))), done);
        assert_eq!(ask(11, read()), status(4));
        assert_eq!(ask(9, m().number(2, UNIT).bytes(4, &registers(1))), done);
        let mut now = ask(11, read());
        while now == status(1) {
            now = ask(11, read());
        }
        assert_eq!((now, ask(11, read())), (status(0xe).into(), status(4).into()));
        assert_eq!(ask(7, m().number(4, 4096).number(5, 4)), b"\x08\x04\x12\x04\x02\x04\x06\x00");
        let register = m().number(1, UNIT).number(2, 0x28).number(3, 4);
        assert_eq!(ask(52, register), b"\x08\x01\x12\x04\x03\0\0\0");
        assert_eq!(ask(5, m().number(1, 4096)), done);
        assert_eq!(ask(1, m().number(3, 0)), done);
        assert_eq!(ask(1, m().number(3, 1)), done);
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_outside_of_memory_and_registers_is_answered_with_no() {
        let (result, answers) = serve_calls(&[
            call(6, m().number(3, 64).bytes(4, b"abc").number(5, 3)),
            call(7, m().number(4, 64).number(5, u64::MAX)),
            call(5, m().number(1, 64)),
            call(4, m().number(1, u64::MAX).number(2, 64)),
            call(9, m().number(2, 0xffff).bytes(4, b"ab")),
            call(11, m().number(2, 0xffff).number(3, 2)),
            call(52, m().number(1, u64::MAX).number(2, 4).number(3, 4)),
        ]);
        result.unwrap();
        let no = &b"\x08\0"[..];
        assert_eq!(answers, [no, b"\x08\0\x12\0", no, no, no, b"\x08\0\x12\0", b"\x08\0\x12\0"]);
    }

    #[test]
    fn a_host_that_ends_is_no_error_but_within_a_call() {
        assert!(serve_calls(&[]).0.is_ok());
        let whole = call(4, m().number(1, 0).number(2, 64));
        for length in 1..whole.len() {
            let result = serve_calls(&[whole[..length].to_vec()]).0;
            assert!(matches!(result, Err(Error::Broken)), "{length}: {result:?}");
        }
    }

    #[test]
    fn what_is_no_call_ends_the_service() {
        let said = |calls: &[Vec<u8>]| serve_calls(calls).0.unwrap_err().to_string();
        assert_eq!(said(&[vec![0xff; HEADER]]), "the host sent no call: its header is no message");
        let mut large = call(4, m());
        large[1..9].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(said(&[large]), "the host sent no call: it is larger than any call");
        let mut body = call(4, m().number(1, 1));
        body[HEADER] = 0x0b;
        assert_eq!(said(&[body]), "the host sent no call: its body is no message");
    }

    #[test]
    fn the_socket_is_where_the_host_opens_it() {
        assert_eq!(socket(Some("ci"), "device0_0_7"), Path::new("/tmp/ci/device0_0_7"));
        assert_eq!(socket(None, "device0_0_7"), Path::new("/tmp/xcl_sock"));
    }

    #[test]
    fn a_host_that_opens_its_socket_late_is_waited_for() {
        let folder = std::env::temp_dir().join(format!("hs-xrt-emu-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        assert!(connect(&path, Duration::ZERO).is_err());
        let waiting = {
            let path = path.clone();
            thread::spawn(move || connect(&path, Duration::from_secs(20)))
        };
        thread::sleep(Duration::from_millis(20));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        listener.accept().unwrap();
        waiting.join().unwrap().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
