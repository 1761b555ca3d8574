//! Events on their way from the ring into the database.

use crate::{
    db::Happened,
    events::{Event, Events, Listener, Next},
};
use serde_json::{Map, Value};

/// Events that are stored in one go.
const BATCH: usize = 64;

/// What was read of the ring.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) happened: Vec<Happened>,
    /// Events that the ring had lost by then.
    pub(super) missed: u64,
}

/// Reads events as they are to be sent.
pub(super) struct Intake {
    events: Events,
    listener: Listener,
}

impl Intake {
    /// Reads what happens from now on.
    pub(super) fn new(events: &Events) -> Self {
        Self {
            listener: events.listen(None),
            events: events.clone(),
        }
    }

    /// The next events; waits for one. Cancel-safe. None once there will be no more.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        let first = self.listener.next().await?;
        let mut batch = Batch::default();
        self.add(&mut batch, first);
        self.fill(&mut batch);
        Some(batch)
    }

    /// What has happened already and wasn't read.
    pub(super) fn rest(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.fill(&mut batch);
        batch
    }

    fn fill(&mut self, batch: &mut Batch) {
        while batch.happened.len() < BATCH {
            match self.listener.try_next() {
                Some(next) => self.add(batch, next),
                None => return,
            }
        }
    }

    fn add(&self, batch: &mut Batch, next: Next) {
        match next {
            Next::Missed(missed) => batch.missed += missed,
            Next::Event(event) => {
                let id = format!("EV_{}", self.events.id(event.number));
                batch.happened.push(happened(&event, id));
            }
        }
    }
}

/// An event with what LiveKit's webhooks have in common: `event`, `id`, `createdAt` (seconds).
fn happened(event: &Event, id: String) -> Happened {
    let mut fields: Map<String, Value> = serde_json::from_str(&event.text).unwrap_or_default();
    let at = fields.get("at").and_then(Value::as_str).unwrap_or_default();
    let at = at.parse::<jiff::Timestamp>();
    let seconds = at.map_or(0, jiff::Timestamp::as_second);
    let lane = fields.get("mint_id").and_then(Value::as_str);
    let lane = lane.unwrap_or_default().to_owned();
    fields.insert("event".into(), event.kind.into());
    fields.insert("id".into(), id.into());
    fields.insert("createdAt".into(), seconds.into());
    Happened {
        kind: event.kind,
        lane,
        body: Value::Object(fields).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bodies(batch: &Batch) -> Vec<Value> {
        let bodies = batch.happened.iter();
        bodies
            .map(|one| serde_json::from_str(&one.body).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn an_event_is_told_with_an_id_of_its_own_in_the_lane_of_its_session() {
        let events = Events::new();
        let mut intake = Intake::new(&events);
        events.emit("session.started", json!({"mint_id": "m", "session_id": 7}));
        events.emit("recording.deleted", json!({}));
        let batch = intake.next().await.unwrap();
        assert_eq!(batch.happened[0].lane, "m");
        assert_eq!(batch.happened[1].lane, "");
        let bodies = bodies(&batch);
        assert_eq!(bodies[0]["event"], "session.started");
        assert_eq!(bodies[0]["type"], "session.started");
        assert_eq!(bodies[0]["session_id"], 7);
        assert!(bodies[0]["createdAt"].as_i64() > Some(1_700_000_000));
        assert!(bodies[0]["id"].as_str().unwrap().starts_with("EV_"));
        assert_ne!(bodies[0]["id"], bodies[1]["id"]);
        assert!(intake.rest().happened.is_empty());
    }

    #[tokio::test]
    async fn many_events_come_in_batches_and_what_the_ring_lost_is_counted() {
        let events = Events::new();
        let mut intake = Intake::new(&events);
        for number in 0..1010 {
            events.emit("session.state", json!({ "number": number }));
        }
        let first = intake.next().await.unwrap();
        assert_eq!((first.missed, first.happened.len()), (10, BATCH));
        let mut read = first.happened.len();
        loop {
            let batch = intake.rest();
            read += batch.happened.len();
            if batch.happened.is_empty() {
                break;
            }
        }
        assert_eq!(read, 1000);
    }
}
