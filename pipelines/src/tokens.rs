use crate::inbox::Outbox;
use haven_wire::{RoomAccess, TokenReply, WorkerMessage};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

/// How long the server may take to get a token.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the server for fresh tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    outbox: Outbox,
    patience: Duration,
    next_id: AtomicU64,
    /// Who waits for which answer; `None` once the session ends, and nobody may wait any more.
    waiting: Mutex<Option<HashMap<u64, SyncSender<TokenReply>>>>,
}

impl Tokens {
    /// Nobody waits yet.
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            patience: PATIENCE,
            next_id: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        }
    }

    /// Asks, and waits for the answer on this thread, at most 10 s; `None` where there is no
    /// token to be had.
    pub(crate) fn ask(&self) -> Option<RoomAccess> {
        let request_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = sync_channel(1);
        self.waiting.lock().as_mut()?.insert(request_id, sender);
        self.outbox.send(WorkerMessage::TokenRequest { request_id });
        let reply = answer.recv_timeout(self.patience);
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.remove(&request_id);
        }
        let reply = reply
            .inspect_err(|_| tracing::warn!(request_id, "no token came"))
            .ok()?;
        if let Some(error) = &reply.error {
            tracing::warn!(request_id, error, retry = reply.retry, "no token");
        }
        reply.access
    }

    /// Hands an answer to whoever waits for it.
    pub(crate) fn answer(&self, reply: TokenReply) {
        let sender = self
            .waiting
            .lock()
            .as_mut()
            .and_then(|waiting| waiting.remove(&reply.request_id));
        match sender {
            Some(sender) => {
                let _ = sender.try_send(reply);
            }
            None => tracing::debug!(reply.request_id, "nobody waits for this token"),
        }
    }

    /// Lets everybody go who waits, now and later: the session ends.
    pub(crate) fn close(&self) {
        *self.waiting.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    fn asking() -> (
        Arc<Tokens>,
        std::sync::mpsc::Receiver<WorkerMessage>,
        thread::JoinHandle<Option<RoomAccess>>,
    ) {
        let (outbox, messages) = Outbox::new();
        let tokens = Arc::new(Tokens::new(outbox));
        let asker = tokens.clone();
        (tokens, messages, thread::spawn(move || asker.ask()))
    }

    #[test]
    fn an_answer_reaches_who_asked() {
        let (tokens, messages, asker) = asking();
        let Ok(WorkerMessage::TokenRequest { request_id }) = messages.recv() else {
            panic!("no request");
        };
        let access = RoomAccess {
            url: "ws://room".into(),
            token: "fresh".into(),
        };
        let reply = |request_id| TokenReply {
            request_id,
            access: Some(access.clone()),
            error: None,
            retry: false,
        };
        tokens.answer(reply(request_id + 1));
        tokens.answer(reply(request_id));
        assert_eq!(asker.join().unwrap(), Some(access));
    }

    #[test]
    fn the_session_s_end_lets_go_who_waits() {
        let (tokens, messages, asker) = asking();
        messages.recv().unwrap();
        tokens.close();
        assert_eq!(asker.join().unwrap(), None);
        assert_eq!(tokens.ask(), None);
    }
}
