//! The socket of a port.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the system keeps waiting to be accepted.
const BACKLOG: i32 = 4096;

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is no address.
    #[error("cannot listen at '{address}': {source}; give HOST:PORT")]
    Address {
        /// As given.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else listens there. The words are those that launchers look for.
    #[error("cannot listen at {0}: Address already in use; choose another port, or 0 for any that is free")]
    InUse(SocketAddr),
    /// Any other reason.
    #[error("cannot listen at {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A port that is open.
#[derive(Debug)]
pub struct Listener {
    pub(crate) tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens at `host:port`; port 0 takes one that is free. Names are resolved, the first address that works is
    /// taken.
    ///
    /// # Errors
    /// The address is wrong, in use, or not this machine's.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: &str) -> Result<Self, BindError> {
        let wrong = |source| BindError::Address { address: address.to_owned(), source };
        let mut error = wrong(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for candidate in address.to_socket_addrs().map_err(wrong)? {
            match Self::open(candidate) {
                Ok(listener) => return Ok(listener),
                Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
                    error = BindError::InUse(candidate);
                }
                Err(source) => error = BindError::Io { address: candidate, source },
            }
        }
        Err(error)
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A port is free again as soon as its server has gone.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(socket.into())?;
        let address = tcp.local_addr()?;
        Ok(Self { tcp, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_is_any_and_a_port_taken_says_so() {
        let first = Listener::bind("127.0.0.1:0").unwrap();
        assert_ne!(first.local_addr().port(), 0);
        let again = Listener::bind(&first.local_addr().to_string()).unwrap_err();
        assert!(matches!(again, BindError::InUse(a) if a == first.local_addr()));
        assert!(again.to_string().contains("Address already in use"), "{again}");
    }

    #[tokio::test]
    async fn what_is_no_address() {
        for wrong in ["", "localhost", "127.0.0.1:99999", "no such host:1"] {
            let e = Listener::bind(wrong).unwrap_err();
            assert!(matches!(e, BindError::Address { .. }), "{wrong}: {e}");
            assert!(e.to_string().contains(&format!("'{wrong}'")), "{e}");
        }
        // An address of documentation, which no machine has.
        assert!(matches!(Listener::bind("192.0.2.1:0").unwrap_err(), BindError::Io { .. }));
    }
}
