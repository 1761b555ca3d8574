//! A TCP connection that can be cut.

use crate::Result;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes TCP connections on until they are cut.
pub struct Cable {
    /// Where it begins.
    pub address: SocketAddr,
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Cable {
    /// A cable to this port on loopback.
    ///
    /// # Errors
    /// When there is no port for its beginning.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let cuts = watch::Sender::new(0);
        let watched = cuts.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = watched.subscribe();
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            cuts,
            task,
        })
    }

    /// Cuts every connection; new ones work.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}
