//! The rules: added, shown, deleted.

use super::{
    period::Signal,
    shown::{LiveState, Shown},
    watcher::Watcher,
};
use crate::{Error, clock, db::RuleRow, error::Kind, recordings::Choice};

/// Rules that there may be.
const MOST_RULES: usize = 1000;

/// Whose streams a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One coin, by its mint.
    Mint(String),
    /// Every coin that an address has created.
    Creator(String),
}

/// A rule, and what is done for it now.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) row: RuleRow,
    /// Its coins that are live.
    pub(crate) live: Vec<Shown>,
}

impl Rule {
    /// What is furthest of what is done for it; none while nothing is live.
    pub(crate) fn state(&self) -> Option<LiveState> {
        self.live.iter().map(|shown| shown.state).max()
    }
}

impl RuleRow {
    /// Whether the rule is about this.
    fn is_about(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Mint(mint) => self.mint.as_ref() == Some(mint),
            Subject::Creator(creator) => self.creator.as_ref() == Some(creator),
        }
    }
}

impl Watcher {
    /// Every rule, oldest first.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let state = self.shared.state.lock();
        let rules = state.rules.values();
        rules.map(|row| state.rule(row)).collect()
    }

    /// Adds a rule; or finds the one that says the same, which is told by `true`. What is live
    /// already is recorded from now on.
    ///
    /// # Errors
    /// Conflict when there is another rule about the same, or too many.
    pub(crate) async fn add_rule(
        &self,
        subject: Subject,
        choice: Choice,
    ) -> Result<(Rule, bool), Error> {
        let _one_at_a_time = self.shared.changing.lock().await;
        {
            let state = self.shared.state.lock();
            if let Some(row) = state.rules.values().find(|row| row.is_about(&subject)) {
                return match row.choice == choice {
                    true => Ok((state.rule(row), true)),
                    false => Err(other_rule(row.id)),
                };
            }
            if state.rules.len() >= MOST_RULES {
                return Err(too_many());
            }
        }
        let (mint, creator) = match subject {
            Subject::Mint(mint) => (Some(mint), None),
            Subject::Creator(creator) => (None, Some(creator)),
        };
        let mut row = RuleRow {
            id: 0,
            mint,
            creator,
            choice,
            created_at_ms: clock::now_ms(),
            seen_live_at_ms: None,
            recording_id: None,
        };
        row.id = self.db().insert_watch_rule(row.clone()).await?;
        tracing::info!(
            rule_id = row.id,
            mint = row.mint,
            creator = row.creator,
            "watching"
        );
        let rule = {
            let mut state = self.shared.state.lock();
            state.rules.insert(row.id, row.clone());
            state.rule(&row)
        };
        self.shared.changed.notify_one();
        Ok((rule, false))
    }

    /// Deletes a rule. What is being recorded for it is recorded to its end; what isn't yet, or
    /// was stopped, isn't waited for any more.
    ///
    /// # Errors
    /// Not found when there is no such rule.
    pub(crate) async fn remove_rule(&self, id: i64) -> Result<Rule, Error> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let rule = {
            let state = self.shared.state.lock();
            let row = state.rules.get(&id).ok_or_else(not_found)?;
            state.rule(row)
        };
        self.db().delete_watch_rule(id).await?;
        tracing::info!(rule_id = id, "not watching any more");
        let mut state = self.shared.state.lock();
        state.rules.remove(&id);
        for live in state.lives.values().filter(|live| live.rule_id == Some(id)) {
            live.tell(Signal::RuleGone);
        }
        Ok(rule)
    }
}

fn not_found() -> Error {
    Error::new(
        Kind::NotFound,
        "rule_not_found",
        "There is no such watch rule",
    )
}

fn other_rule(id: i64) -> Error {
    let message = format!("Watch rule {id} is about the same, and says otherwise: delete it first");
    Error::new(Kind::Conflict, "already_watched", message)
}

fn too_many() -> Error {
    let message = format!("There are {MOST_RULES} watch rules already: delete one first");
    Error::new(Kind::Conflict, "too_many_rules", message)
}
