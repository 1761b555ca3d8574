//! A TCP connection that can be cut, as a router that restarts does.

use crate::error::{Result, RigError};
use std::net::SocketAddr;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinHandle,
};

/// Stands before a server and passes everything on, until it is told to cut.
#[derive(Debug)]
pub struct Cuttable {
    address: SocketAddr,
    cut: broadcast::Sender<()>,
    task: JoinHandle<()>,
}

impl Cuttable {
    /// A way to the server at this address.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn before(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(RigError::io("listening before a server"))?;
        let address = listener
            .local_addr()
            .map_err(RigError::io("listening before a server"))?;
        let (cut, _) = broadcast::channel(1);
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, cuts.subscribe()));
            }
        });
        Ok(Self { address, cut, task })
    }

    /// Where to connect in place of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection that there is; new ones are passed on.
    pub fn cut(&self) {
        // Nobody connected: nothing to cut.
        let _ = self.cut.send(());
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut cut: broadcast::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = cut.recv() => {}
    }
}
