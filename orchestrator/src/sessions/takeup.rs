//! Sessions that a former server has begun and that should run: they go on, with their recordings.

use super::{
    actor::Actor,
    recording::Active,
    registry::Registry,
    source::{DEMO, Sources, Target},
    state::Phase,
    writes::Write,
};
use crate::{
    Error, clock,
    db::{SessionKind, WantedSession},
    recordings::Recording,
};
use haven_wire::SessionState;
use tokio::time::Instant;

/// Why a file ended whose server died.
const SERVER_DIED: &str = "server_died";

/// What goes on.
pub(super) struct TakenUp {
    session: WantedSession,
    recordings: Vec<Recording>,
}

impl Registry {
    /// Has a session go on under this server, with its recordings; whether it does. To be called
    /// before the first session is started.
    pub(crate) fn take_up(&self, session: WantedSession, recordings: Vec<Recording>) -> bool {
        let target = match target(&self.context().sources, &session) {
            Ok(target) => target,
            Err(error) => {
                let (key, error) = (&session.key, error.chain());
                tracing::error!(key, error, "a session can't be taken up");
                return false;
            }
        };
        let taken_up = TakenUp {
            session,
            recordings,
        };
        self.spawn_taken_up(&target, taken_up)
    }
}

fn target(sources: &Sources, session: &WantedSession) -> Result<Target, Error> {
    match session.kind {
        SessionKind::Mint => sources.mint_target(&session.key),
        SessionKind::Demo => sources.mint_target(DEMO),
        SessionKind::Room => sources.room_target(&session.key),
    }
}

impl Actor {
    /// As after a crash of its worker: the room is joined again, and recordings that were cut go
    /// on in another file.
    pub(super) async fn take_up(&mut self, taken_up: TakenUp) -> Result<(), Error> {
        let TakenUp {
            session,
            recordings,
        } = taken_up;
        let now_ms = clock::now_ms();
        self.view.session_id = session.id;
        tracing::Span::current().record("session_id", session.id);
        self.view.started_at_ms = session.started_at_ms;
        self.view.status.room_name = session.room_name;
        self.view.status.state = SessionState::Reconnecting;
        if let Ok(info) = serde_json::from_str(&session.stream_info) {
            self.view.stream_info = info;
        }
        self.start_deadline = None;
        self.lost_at = Some(Instant::now());
        self.view.state_reason = Some("server_restarted".into());
        self.view.state_since_ms = now_ms;
        self.view
            .advance(Phase::Running, "taken up after a restart of the server");
        let taken_up = Write::SessionTakenUp {
            id: session.id,
            at_ms: now_ms,
        };
        self.writer.write(taken_up).await;
        for mut recording in recordings {
            self.writer
                .write(Write::RecordingReopened(recording.id))
                .await;
            recording.ended = None;
            let mut active = Active::new(recording);
            active.cut_reason = SERVER_DIED.to_owned();
            self.recordings.push(active);
        }
        self.session_event("session.resumed");
        self.close_cut_files().await;
        self.find_source();
        Ok(())
    }
}
