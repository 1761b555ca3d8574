//! Where the server listens: a TCP port or a Unix socket.

use crate::stream::Stream;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::{Path, PathBuf},
};
use viewer_socket::tune_tcp;

/// What to listen on.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    Tcp { address: String, port: u16 },
    Unix(PathBuf),
}

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{endpoint} is in use: choose another, or stop what listens there")]
    Busy { endpoint: String },
    #[error("can't listen on {endpoint}: {source}")]
    Listen { endpoint: String, source: io::Error },
    #[error("can't start the threads of the server: {0}")]
    Threads(String),
}

/// A socket that listens.
pub(crate) enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    /// Listens; also gives the TCP address, or the Unix socket's file. Inside of a runtime only.
    pub(crate) fn bind(
        endpoint: &Endpoint,
    ) -> Result<(Self, Option<SocketAddr>, Option<PathBuf>), StartError> {
        match endpoint {
            Endpoint::Tcp { address, port } => {
                let name = format!("{address}:{port}");
                let bound = || -> io::Result<_> {
                    let listener = TcpListener::bind((address.as_str(), *port))?;
                    listener.set_nonblocking(true)?;
                    let local = listener.local_addr()?;
                    Ok((tokio::net::TcpListener::from_std(listener)?, local))
                };
                let (listener, local) = bound().map_err(|error| start_error(name, error))?;
                Ok((Self::Tcp(listener), Some(local), None))
            }
            Endpoint::Unix(path) => {
                let name = path.display().to_string();
                let bound = || -> io::Result<_> {
                    let listener = bind_unix(path)?;
                    listener.set_nonblocking(true)?;
                    tokio::net::UnixListener::from_std(listener)
                };
                let listener = bound().map_err(|error| start_error(name, error))?;
                Ok((Self::Unix(listener), None, Some(path.clone())))
            }
        }
    }

    /// The next connection and where it comes from. Dropping the future loses nothing.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // A connection that is gone already fails here; its task will see it too.
                _ = tune_tcp(&stream);
                Ok((Stream::tcp(stream), address.to_string()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::unix(stream), "unix".to_owned()))
            }
        }
    }
}

fn start_error(endpoint: String, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::Busy { endpoint },
        _ => StartError::Listen { endpoint, source },
    }
}

/// Listens on a Unix socket that only this user may open. A socket file whose process is gone is
/// replaced; one that somebody listens on, or another kind of file, is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::{fs::PermissionsExt, net::UnixStream};
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let stale = found.file_type().is_socket()
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !stale {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
