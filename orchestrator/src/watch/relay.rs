//! Frames from a session's worker into its hub, while somebody watches.

use crate::backoff::Backoff;
use haven_wire::rendition_socket;
use std::{path::PathBuf, time::Duration};
use tokio::{sync::watch, time::sleep};
use viewer_socket::{
    Hub,
    relay::{Relay, StatusFrom},
};

/// Where a hub's frames come from.
pub(crate) struct Feed {
    /// Where the session's worker serves its frames, while one runs: the hub and its viewers outlive
    /// workers.
    pub(crate) socket: watch::Receiver<Option<PathBuf>>,
    /// Smaller pictures: how wide they are at most, and what has the worker serve them. It is called
    /// whenever they are wanted.
    pub(crate) rendition: Option<(u32, Box<dyn Fn() + Send>)>,
}

impl Feed {
    /// Where this hub's frames are, by where the session's are.
    fn place(&self, socket: PathBuf) -> PathBuf {
        match &self.rendition {
            None => socket,
            Some((width, order)) => {
                order();
                rendition_socket(&socket, *width)
            }
        }
    }
}

/// Runs until the sender of the feed's socket is dropped.
pub(crate) async fn run(hub: Hub, feed: Feed, linger: Duration) {
    let mut socket = feed.socket.clone();
    let mut viewers = hub.viewers();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let Ok(path) = socket
            .wait_for(Option::is_some)
            .await
            .map(|path| path.clone())
        else {
            return;
        };
        let Some(path) = path else { continue };
        tokio::select! {
            watched = viewers.wait_for(|count| *count > 0) => if watched.is_err() { return },
            changed = socket.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let path = feed.place(path);
        let relayed = async {
            match Relay::connect(&path).await {
                Ok(relay) => {
                    let end = relay.run(&hub, StatusFrom::Caller).await;
                    tracing::debug!(path = %path.display(), ?end, "relay ended");
                    true
                }
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "no relay yet");
                    false
                }
            }
        };
        tokio::select! {
            connected = relayed => {
                if connected {
                    backoff.reset();
                }
                let pause = backoff.next(rand::random());
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = socket.changed() => if changed.is_err() { return },
                }
            }
            // Who comes in an hour shall not be shown what is an hour old.
            () = unwatched(viewers.clone(), linger) => hub.forget_pictures(),
            changed = socket.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits until nobody has watched for `linger`.
async fn unwatched(mut viewers: watch::Receiver<usize>, linger: Duration) {
    loop {
        if viewers.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(linger) => return,
            watched = viewers.wait_for(|count| *count > 0) => if watched.is_err() { return },
        }
    }
}
