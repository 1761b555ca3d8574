//! What the list alone doesn't tell: the platform is asked about single coins, beside the looking.

use super::{
    period::Signal,
    watcher::{Shared, Watcher},
};
use crate::db::RuleRow;
use futures_util::StreamExt;
use pumpfun_api::{Coin, Mint};
use std::sync::Arc;

/// Coins that are asked about at once.
const AT_ONCE: usize = 4;

/// What is asked about a coin.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Whether it isn't live any more; with the number of its period. It may be missing on the list
    /// because it lies on a page that wasn't read in the same moment, or isn't listed at all.
    IsOver(String, i64),
    /// Whether it is live anew after its room was deleted; with the rule about it. The list may lag
    /// behind.
    IsLiveAgain(Box<(RuleRow, Coin)>),
}

/// A coin that is being asked about, until this is dropped.
struct Asked {
    shared: Arc<Shared>,
    mint: String,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.state.lock().asked.remove(&self.mint);
    }
}

impl Question {
    fn mint(&self) -> &str {
        match self {
            Self::IsOver(mint, _) => mint,
            Self::IsLiveAgain(about) => about.1.mint.as_deref().unwrap_or_default(),
        }
    }
}

impl Watcher {
    /// Has what isn't being asked yet asked by a task of its own: the next look doesn't wait.
    pub(super) fn ask(&self, questions: Vec<Question>) {
        let new: Vec<_> = {
            let mut state = self.shared.state.lock();
            let is_new = |question: &Question| state.asked.insert(question.mint().to_owned());
            questions.into_iter().filter(is_new).collect()
        };
        if new.is_empty() {
            return;
        }
        let asked = |question: Question| {
            let asked = Asked {
                shared: Arc::clone(&self.shared),
                mint: question.mint().to_owned(),
            };
            (question, asked)
        };
        let new: Vec<_> = new.into_iter().map(asked).collect();
        let this = self.clone();
        self.shared.context().shutdown.spawn(async move {
            futures_util::stream::iter(new)
                .for_each_concurrent(AT_ONCE, |(question, asked)| {
                    let this = this.clone();
                    async move {
                        this.answer(question).await;
                        drop(asked);
                    }
                })
                .await;
        });
    }

    async fn answer(&self, question: Question) {
        let Ok(mint) = question.mint().parse::<Mint>() else {
            return;
        };
        let catalogue = &self.shared.context().sources.pumpfun;
        match (question, catalogue.says_live(&mint).await) {
            (Question::IsOver(mint, id), Some(false)) => {
                let state = self.shared.state.lock();
                if let Some(live) = state.lives.get(&mint).filter(|live| live.id == id) {
                    live.tell(Signal::Over);
                }
            }
            (Question::IsLiveAgain(about), Some(true)) => {
                let (rule, coin) = *about;
                let is_closed = self.shared.state.lock().closed.remove(mint.as_str());
                if is_closed {
                    self.begin(&rule, &coin).await;
                }
            }
            // Asked again at the next look.
            _ => {}
        }
    }
}
