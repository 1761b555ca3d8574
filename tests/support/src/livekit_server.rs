use crate::{
    access::{Keys, Role},
    error::{Result, RigError},
    paths,
    process::{self, Child},
    room_service::RoomService,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// How long the server may take to answer; a machine under load takes seconds.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to leave after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How often other ports are tried when somebody else took ours in between.
const PORT_ATTEMPTS: u32 = 5;
/// How many UDP ports the server may choose media ports from (two for each participant). Servers may
/// share them: a port that is taken is passed over.
const MEDIA_PORTS: u16 = 2000;
/// Validity of tokens that nobody asked a certain validity for.
const TOKEN_TTL: Duration = Duration::from_secs(6 * 3600);

/// A real livekit-server on loopback, built from the Go module proxy when first needed.
#[derive(Debug)]
pub struct LiveKitServer {
    binary: PathBuf,
    folder: tempfile::TempDir,
    keys: Keys,
    port: u16,
    child: Option<Child>,
}

impl LiveKitServer {
    /// Builds the server if necessary, starts it on free ports, and waits until it answers.
    ///
    /// # Errors
    /// When Go is missing, the build fails, or the server doesn't come up (with its log).
    pub async fn start() -> Result<Self> {
        Self::start_with(&json!({})).await
    }

    /// As [`start`](Self::start), with further configuration, merged over the rig's own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(extra: &Value) -> Result<Self> {
        let binary = paths::go_program("livekit-server", "tool").await?;
        let folder = tempfile::Builder::new()
            .prefix("haven-livekit-")
            .tempdir()
            .map_err(RigError::io("making a folder for livekit-server"))?;
        let mut server = Self {
            binary,
            folder,
            keys: Keys::random(),
            port: 0,
            child: None,
        };
        let mut attempt = 1;
        loop {
            server.choose_ports(extra)?;
            match server.run().await {
                Err(RigError::Unexpected { detail, .. })
                    if attempt < PORT_ATTEMPTS && detail.contains("address already in use") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// Where clients connect to: `ws://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The server's key pair.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A token to join a room.
    ///
    /// # Errors
    /// For an empty room or identity.
    pub fn token(&self, room: &str, identity: &str, role: Role) -> Result<String> {
        self.keys.token(room, identity, role, TOKEN_TTL)
    }

    /// The server's room service.
    pub fn room_service(&self) -> RoomService {
        RoomService::new(format!("http://127.0.0.1:{}", self.port), self.keys.clone())
    }

    /// What `haven` needs to join any of its rooms: `LIVEKIT_URL`, `LIVEKIT_API_KEY`,
    /// `LIVEKIT_API_SECRET`, and loopback for ICE.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LIVEKIT_URL", self.url()),
            ("LIVEKIT_API_KEY", self.keys.key.clone()),
            ("LIVEKIT_API_SECRET", self.keys.secret.clone()),
            ("HAVEN_ICE_ADDRESSES", "127.0.0.1".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .into()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Stops the server: SIGTERM, then SIGKILL. [`restart`](Self::restart) starts it again.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.stop(STOP_GRACE).await?;
        }
        Ok(())
    }

    /// Kills the server as a crash would. [`restart`](Self::restart) starts it again.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Starts the server again, stopping it first if it runs: same ports, same keys, no rooms.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.run().await
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("livekit-server.log")
    }

    fn choose_ports(&mut self, extra: &Value) -> Result<()> {
        let free = || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|l| Ok((l.local_addr()?.port(), l)))
        };
        // Both are held until both are chosen, so that they differ.
        let (port, _held) = free().map_err(RigError::io("looking for a free port"))?;
        let (tcp_port, _held) = free().map_err(RigError::io("looking for a free port"))?;
        // Below Linux's ephemeral ports, which start at 32768.
        let media_start: u16 = rand::random_range(20_000..30_000);
        let keys = json!({ &*self.keys.key: self.keys.secret });
        let mut config = json!({
            "port": port,
            "bind_addresses": ["127.0.0.1"],
            "logging": { "level": "info", "json": false },
            "rtc": {
                "tcp_port": tcp_port,
                "port_range_start": media_start,
                "port_range_end": media_start + MEDIA_PORTS,
                "node_ip": "127.0.0.1",
                "use_external_ip": false,
                "enable_loopback_candidate": true,
                "interfaces": { "includes": ["lo"] },
            },
            "keys": keys,
        });
        merge(&mut config, extra);
        // JSON is YAML. The folder is ours alone (0700), so nobody else reads the secret.
        std::fs::write(self.folder.path().join("config.yaml"), config.to_string())
            .map_err(RigError::io("writing livekit-server's configuration"))?;
        self.port = port;
        Ok(())
    }

    /// Starts the process and waits until it answers.
    async fn run(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(RigError::io("opening livekit-server's log"))?;
        let log_again = log
            .try_clone()
            .map_err(RigError::io("opening livekit-server's log"))?;
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(self.folder.path().join("config.yaml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again);
        let mut child = Child::spawn("livekit-server", command)?;
        let deadline = Instant::now() + READY_LIMIT;
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        let http = reqwest::Client::new();
        let question = format!("http://127.0.0.1:{}/", self.port);
        loop {
            pause.tick().await;
            if !child.is_running() {
                let log = self.log();
                return Err(RigError::unexpected(
                    "livekit-server ended at its start",
                    process::tail(&log),
                ));
            }
            let answer = http
                .get(&question)
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                self.child = Some(child);
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(RigError::TimedOut {
                    what: "livekit-server's start".into(),
                    limit: READY_LIMIT,
                    detail: format!("; its log: {}", process::tail(&self.log())),
                });
            }
        }
    }
}

/// Puts `extra` over `config`, object by object.
fn merge(config: &mut Value, extra: &Value) {
    match (config, extra) {
        (Value::Object(config), Value::Object(extra)) => {
            for (name, value) in extra {
                merge(config.entry(name).or_insert(Value::Null), value);
            }
        }
        (config, extra) => *config = extra.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_configuration_is_merged_object_by_object() {
        let mut config = json!({ "rtc": { "tcp_port": 1, "node_ip": "x" }, "port": 2 });
        merge(
            &mut config,
            &json!({ "rtc": { "node_ip": "y" }, "turn": { "enabled": true } }),
        );
        let expected = json!({ "rtc": { "tcp_port": 1, "node_ip": "y" }, "port": 2, "turn": { "enabled": true } });
        assert_eq!(config, expected);
    }
}
