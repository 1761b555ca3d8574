//! What the service manager (systemd) is told: `sd_notify(3)`, without its library.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    time::Duration,
};

/// A connection to the service manager; silent where there is none.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment names it (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(crate) fn from_lookup(env: impl Fn(&str) -> Option<String>) -> Self {
        let address = env("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        let socket = address
            .as_deref()
            .and_then(|address| match connect(address) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    tracing::warn!(%error, "the service manager can't be told anything");
                    None
                }
            });
        // Of another process, if it names one.
        let ours = env("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros = env("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let watchdog = micros
            .filter(|micros| *micros > 0 && ours && socket.is_some())
            .map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// How often [`ServiceManager::alive`] has to be called: twice as often as is asked for.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The server serves.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is being read again; [`ServiceManager::ready`] follows.
    pub(crate) fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// The server ends.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The server isn't stuck.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        let sent = self
            .socket
            .as_ref()
            .map(|socket| socket.send(state.as_bytes()));
        if let Some(Err(error)) = sent {
            tracing::debug!(%error, state, "the service manager doesn't listen");
        }
    }
}

fn connect(address: &str) -> std::io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(address))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that doesn't read must not hold the server up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_to_the_named_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let told = ServiceManager::from_lookup(|name| match name {
            "NOTIFY_SOCKET" => Some(path.to_string_lossy().into_owned()),
            "WATCHDOG_USEC" => Some("3000000".into()),
            _ => None,
        });
        assert_eq!(told.watchdog_interval(), Some(Duration::from_millis(1500)));
        told.ready();
        told.reloading();
        told.alive();
        told.stopping();
        let mut heard = Vec::new();
        for _ in 0..4 {
            let mut bytes = [0; 100];
            let length = manager.recv(&mut bytes).unwrap();
            heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        assert_eq!(
            heard,
            ["READY=1", "RELOADING=1", "WATCHDOG=1", "STOPPING=1"]
        );
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        let silent = ServiceManager::from_lookup(|_| None);
        silent.ready();
        assert_eq!(silent.watchdog_interval(), None);
    }
}
