use crate::{
    access::Keys,
    error::{Result, RigError},
};
use base64::Engine as _;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// A client of LiveKit's room service (Twirp, JSON).
#[derive(Clone, Debug)]
pub struct RoomService {
    base: String,
    keys: Keys,
    http: reqwest::Client,
}

/// A participant, as the server sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Participant {
    /// `PA_…`
    pub sid: String,
    /// Identity in its token.
    pub identity: String,
    /// `JOINING`, `JOINED`, `ACTIVE` or `DISCONNECTED`.
    pub state: String,
    /// What it publishes.
    pub tracks: Vec<Track>,
    /// What it may do.
    pub permission: Permission,
}

/// A published track.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Track {
    /// `TR_…`
    pub sid: String,
    /// `VIDEO` or `AUDIO`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is muted.
    pub muted: bool,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
    /// Whether it is sent in several sizes.
    pub simulcast: bool,
    /// Media type, for example `video/H264`.
    pub mime_type: String,
}

/// A participant's permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// May receive tracks.
    pub can_subscribe: bool,
    /// May publish tracks.
    pub can_publish: bool,
    /// May publish data messages.
    pub can_publish_data: bool,
    /// Others don't see it.
    pub hidden: bool,
}

impl RoomService {
    pub(crate) fn new(base: String, keys: Keys) -> Self {
        Self {
            base,
            keys,
            http: reqwest::Client::new(),
        }
    }

    /// Everybody in a room. Empty where there is no such room.
    ///
    /// # Errors
    /// When the server can't be asked.
    pub async fn participants(&self, room: &str) -> Result<Vec<Participant>> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            participants: Vec<Participant>,
        }
        let answer: Answer = self
            .call("ListParticipants", room, &json!({ "room": room }))
            .await?;
        Ok(answer.participants)
    }

    /// The names of all rooms.
    ///
    /// # Errors
    /// When the server can't be asked.
    pub async fn rooms(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Room {
            name: String,
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            rooms: Vec<Room>,
        }
        let answer: Answer = self.call("ListRooms", "", &json!({})).await?;
        Ok(answer.rooms.into_iter().map(|room| room.name).collect())
    }

    /// Puts a participant out of a room.
    ///
    /// # Errors
    /// When there is no such participant, or the server can't be asked.
    pub async fn remove_participant(&self, room: &str, identity: &str) -> Result<()> {
        let request = json!({ "room": room, "identity": identity });
        self.call::<Value>("RemoveParticipant", room, &request)
            .await
            .map(drop)
    }

    /// Closes a room for everybody in it.
    ///
    /// # Errors
    /// When there is no such room, or the server can't be asked.
    pub async fn delete_room(&self, room: &str) -> Result<()> {
        self.call::<Value>("DeleteRoom", room, &json!({ "room": room }))
            .await
            .map(drop)
    }

    /// Sends a data message to everybody in a room, on the reliable channel.
    ///
    /// # Errors
    /// When there is no such room, or the server can't be asked.
    pub async fn send_data(&self, room: &str, topic: &str, payload: &[u8]) -> Result<()> {
        let data = base64::engine::general_purpose::STANDARD.encode(payload);
        let request = json!({ "room": room, "data": data, "kind": "RELIABLE", "topic": topic });
        self.call::<Value>("SendData", room, &request)
            .await
            .map(drop)
    }

    /// Mutes or unmutes a track on the server.
    ///
    /// # Errors
    /// When there is no such track, or the server can't be asked.
    pub async fn mute_track(
        &self,
        room: &str,
        identity: &str,
        sid: &str,
        muted: bool,
    ) -> Result<()> {
        let request =
            json!({ "room": room, "identity": identity, "track_sid": sid, "muted": muted });
        self.call::<Value>("MutePublishedTrack", room, &request)
            .await
            .map(drop)
    }

    /// Asks until the participants of a room are as wanted, and returns them.
    ///
    /// # Errors
    /// [`RigError::TimedOut`] with the participants as they were last.
    pub async fn wait_until(
        &self,
        room: &str,
        limit: Duration,
        mut wanted: impl FnMut(&[Participant]) -> bool,
    ) -> Result<Vec<Participant>> {
        let deadline = Instant::now() + limit;
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            let participants = self.participants(room).await?;
            if wanted(&participants) {
                return Ok(participants);
            }
            if Instant::now() > deadline {
                return Err(RigError::TimedOut {
                    what: format!("waiting for the participants of {room}"),
                    limit,
                    detail: format!("; there are {participants:?}"),
                });
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        room: &str,
        request: &Value,
    ) -> Result<T> {
        let what = || format!("asking the room service ({method})");
        let response = self
            .http
            .post(format!("{}/twirp/livekit.RoomService/{method}", self.base))
            .bearer_auth(self.keys.admin_token(room)?)
            .timeout(REQUEST_LIMIT)
            .json(request)
            .send()
            .await
            .map_err(RigError::http(what()))?;
        let status = response.status();
        let body = response.bytes().await.map_err(RigError::http(what()))?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(RigError::unexpected(what(), format!("{status}: {text}")));
        }
        serde_json::from_slice(&body).map_err(|error| {
            RigError::unexpected(
                what(),
                format!("{error} in {}", String::from_utf8_lossy(&body)),
            )
        })
    }
}
