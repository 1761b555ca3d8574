//! A real room with a publisher, pump.fun's stand-in, and a server that uses them.

use crate::{Haven, Result};
use haven_rig::pumpfun::{Coin, FakePumpFun, random_mint};
use haven_rig::{
    Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, LiveOptions, Publisher, PublisherEvent,
    Role,
};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// The stages of one test program take turns: figures measured side by side on two cores would
/// measure the other test.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

/// Who publishes into the room.
#[derive(Clone, Debug)]
pub enum Publishing {
    /// A pre-encoded clip, from its start, repeated.
    Clip(ClipSpec),
    /// Drawn and encoded while it is sent.
    Live(LiveOptions),
    /// Nobody.
    Nobody,
}

impl Publishing {
    /// 360p30, cheap to decode: for tests of behaviour.
    pub fn small() -> Self {
        Self::Clip(ClipSpec::small(Codec::H264, 80))
    }
}

/// Everything that a session needs.
pub struct Stage {
    /// The server under test.
    pub haven: Haven,
    /// The LiveKit server.
    pub livekit: LiveKitServer,
    /// Pump.fun's stand-in.
    pub pumpfun: FakePumpFun,
    /// The mint whose livestream is the room.
    pub mint: String,
    /// The room.
    pub room: String,
    publisher: Option<Publisher>,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Sets everything up.
    ///
    /// # Errors
    /// When something is missing or doesn't come up.
    pub async fn set(publishing: Publishing) -> Result<Self> {
        Self::set_with(publishing, Vec::new()).await
    }

    /// As [`Stage::set`], with further variables for the server.
    ///
    /// # Errors
    /// When something is missing or doesn't come up.
    pub async fn set_with(
        publishing: Publishing,
        variables: Vec<(String, String)>,
    ) -> Result<Self> {
        let turn = TURN.lock().await;
        let livekit = LiveKitServer::start().await?;
        let pumpfun = FakePumpFun::start(&livekit).await?;
        let coin = Coin::new(random_mint());
        let (mint, room) = (coin.mint.clone(), coin.room.clone());
        pumpfun.add_coin(coin);
        let mut environment = pumpfun.environment();
        environment.extend(livekit.environment());
        environment.extend(variables);
        let haven = Haven::start(environment).await?;
        let mut stage = Self {
            haven,
            livekit,
            pumpfun,
            mint,
            room,
            publisher: None,
            _turn: turn,
        };
        stage.publish(&publishing).await?;
        Ok(stage)
    }

    /// Lets somebody publish.
    ///
    /// # Errors
    /// When the publisher can't join.
    pub async fn publish(&mut self, publishing: &Publishing) -> Result {
        self.publisher = publisher_for(&self.livekit, &self.room, publishing).await?;
        Ok(())
    }

    /// The publisher.
    ///
    /// # Panics
    /// When nobody publishes.
    #[expect(
        clippy::expect_used,
        reason = "a test that publishes nothing asked for a publisher"
    )]
    pub fn publisher(&mut self) -> &mut Publisher {
        self.publisher.as_mut().expect("somebody publishes")
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

/// Lets somebody publish into a room.
pub(crate) async fn publisher_for(
    livekit: &LiveKitServer,
    room: &str,
    publishing: &Publishing,
) -> Result<Option<Publisher>> {
    let token = livekit.token(room, "streamer", Role::Publisher)?;
    let url = livekit.url();
    Ok(match publishing {
        Publishing::Nobody => None,
        Publishing::Clip(spec) => {
            let clip = Clip::get(*spec).await?;
            let streamer = ClipParticipant::new("streamer", token);
            Some(Publisher::clip(&url, &clip, &[streamer], true).await?)
        }
        Publishing::Live(options) => {
            Some(Publisher::live(&url, "streamer", &token, options).await?)
        }
    })
}

/// How many of so many frames may be missing: one in a hundred in the long form, which is for a
/// quiet machine; one in ten every day, where others may take the processor away for a while.
pub fn may_be_missing(seen: u64) -> u64 {
    seen / if is_long_form() { 100 } else { 10 }
}

/// How many breaks so many seconds of sound may have after their start: none in the long form. On a
/// busy machine whatever is later than the mixer waits for is silence; one break a second is no sound
/// that is cut or put together wrongly, which breaks with every packet.
pub fn may_break(seconds: f64) -> usize {
    if is_long_form() { 0 } else { seconds as usize }
}

/// How much of what a voice says may be unheard, of 1: nothing in the long form.
pub fn may_be_unheard() -> f64 {
    if is_long_form() { 0.0 } else { 0.3 }
}

/// Whether figures are measured at length, on a quiet machine.
pub fn is_long_form() -> bool {
    std::env::var_os("HAVEN_E2E_SECONDS").is_some()
}

/// How long measurements run: `HAVEN_E2E_SECONDS`, else a short form for every day.
pub fn measured_seconds() -> Duration {
    let seconds = std::env::var("HAVEN_E2E_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    Duration::from_secs(seconds)
}
