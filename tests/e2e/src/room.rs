//! A real room with a publisher, for an element that joins it by itself.

use crate::stage::{TURN, publisher_for};
use crate::{Publishing, Result};
use haven_rig::{LiveKitServer, Publisher, PublisherEvent};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

/// A LiveKit server with one room and perhaps somebody who publishes in it.
pub struct Room {
    /// The server.
    pub livekit: LiveKitServer,
    /// The room's name.
    pub name: String,
    publisher: Option<Publisher>,
    _turn: MutexGuard<'static, ()>,
}

impl Room {
    /// Starts a server and lets somebody publish.
    ///
    /// # Errors
    /// When something is missing or doesn't come up.
    pub async fn open(publishing: &Publishing) -> Result<Self> {
        Self::open_with(&json!({}), publishing).await
    }

    /// As [`Room::open`], with further configuration of the server.
    ///
    /// # Errors
    /// When something is missing or doesn't come up.
    pub async fn open_with(configuration: &Value, publishing: &Publishing) -> Result<Self> {
        let turn = TURN.lock().await;
        let mut room = Self {
            livekit: LiveKitServer::start_with(configuration).await?,
            name: "stage".into(),
            publisher: None,
            _turn: turn,
        };
        room.publish(publishing).await?;
        Ok(room)
    }

    /// Lets somebody publish; who published before ends without a word.
    ///
    /// # Errors
    /// When the publisher can't join.
    pub async fn publish(&mut self, publishing: &Publishing) -> Result {
        self.publisher = None;
        self.publisher = publisher_for(&self.livekit, &self.name, publishing).await?;
        Ok(())
    }

    /// The publisher.
    ///
    /// # Errors
    /// When nobody publishes.
    pub fn publisher(&mut self) -> Result<&mut Publisher> {
        Ok(self.publisher.as_mut().ok_or("nobody publishes")?)
    }

    /// Ends the publisher; what it sent.
    ///
    /// # Errors
    /// When it doesn't end in order.
    pub async fn end_publisher(&mut self) -> Result<Vec<PublisherEvent>> {
        match self.publisher.take() {
            Some(publisher) => Ok(publisher.stop().await?),
            None => Ok(Vec::new()),
        }
    }
}
