//! A viewer without GStreamer: the room's engine by itself.

use crate::{Result, Room};
use haven_rig::{Role, within};
use livekit_room::{
    Driver, EndReason, FixedToken, Kind, Network, Path, RoomConfig, RoomEvent, Stopper,
};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Events that may wait for the test.
const MAX_EVENTS: usize = 4096;

/// A viewer of a room.
pub struct Viewer {
    events: mpsc::Receiver<RoomEvent>,
    stopper: Stopper,
    task: JoinHandle<EndReason>,
    started: Instant,
    /// The way that media took last.
    pub path: Option<Path>,
    /// Whether the connection was lost.
    pub reconnected: bool,
}

impl Viewer {
    /// Begins to join the room from this address; from where the kernel says if it is empty.
    ///
    /// # Errors
    /// When there is no token.
    pub fn join(room: &Room, from: &str, network: Network) -> Result<Self> {
        Self::join_by(room, &room.livekit.url(), from, network)
    }

    /// As [`Viewer::join`], by another URL of the server.
    ///
    /// # Errors
    /// When there is no token.
    pub fn join_by(room: &Room, url: &str, from: &str, network: Network) -> Result<Self> {
        let token = room.livekit.token(&room.name, "viewer", Role::Viewer)?;
        let addresses: Result<Vec<IpAddr>, _> =
            from.split_terminator(',').map(str::parse).collect();
        let config = RoomConfig {
            ice_addresses: addresses?,
            network,
            ..RoomConfig::default()
        };
        let driver = Driver::new(config, Box::new(FixedToken::new(url, &token)));
        let stopper = driver.stopper();
        let (sender, events) = mpsc::channel(MAX_EVENTS);
        // What a test doesn't wait for any more is dropped.
        let task = tokio::spawn(driver.run(move |event| drop(sender.try_send(event))));
        Ok(Self {
            events,
            stopper,
            task,
            started: Instant::now(),
            path: None,
            reconnected: false,
        })
    }

    /// Waits for so many pictures that come from now on; how long the first took since the join.
    ///
    /// # Errors
    /// When they don't come in time, or the room ends.
    pub async fn pictures(&mut self, count: usize) -> Result<Duration> {
        while self.events.try_recv().is_ok_and(|event| {
            self.note(&event);
            true
        }) {}
        let first = within("pictures", LIMIT, async {
            let mut first = None;
            let mut seen = 0;
            while seen < count {
                let event = self.next().await?;
                if matches!(&event, RoomEvent::Frame(frame) if frame.codec.kind() == Kind::Video) {
                    first.get_or_insert(self.started.elapsed());
                    seen += 1;
                }
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(first)
        })
        .await??;
        Ok(first.unwrap_or_default())
    }

    /// Waits for an event.
    ///
    /// # Errors
    /// When it doesn't come in time, or the room ends.
    pub async fn event(&mut self, wanted: impl Fn(&RoomEvent) -> bool) -> Result<RoomEvent> {
        within("an event", LIMIT, async {
            loop {
                let event = self.next().await?;
                if wanted(&event) {
                    return Ok(event);
                }
            }
        })
        .await?
    }

    async fn next(&mut self) -> Result<RoomEvent> {
        let event = self.events.recv().await.ok_or("the room ended")?;
        self.note(&event);
        Ok(event)
    }

    fn note(&mut self, event: &RoomEvent) {
        match event {
            RoomEvent::Path(path) => self.path = Some(*path),
            RoomEvent::Reconnecting { .. } => self.reconnected = true,
            _ => {}
        }
    }

    /// Leaves, and waits for the end.
    ///
    /// # Errors
    /// When it doesn't come in time.
    pub async fn leave(self) -> Result<EndReason> {
        self.stopper.stop();
        Ok(within("the end", LIMIT, self.task).await??)
    }
}
