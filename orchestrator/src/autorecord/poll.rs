//! The one poller: reads the platform's list for all rules, begins periods and has them end.

use super::{
    pace,
    questions::Question,
    watcher::{State, Watcher},
};
use crate::{
    clock,
    db::{CoinRow, LiveList, PeriodRow, RuleRow},
    error::Kind,
};
use pumpfun_api::Coin;
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// The coins of a list that are live, by mint.
fn live_coins(list: &LiveList) -> HashMap<&str, &CoinRow> {
    let coins = list.coins.iter();
    let live = coins.filter(|row| row.coin.is_currently_live != Some(false));
    live.map(|row| (row.mint.as_str(), row)).collect()
}

/// What a list asks for.
#[derive(Default)]
struct Findings {
    /// Rules whose coins are on it.
    seen: BTreeSet<i64>,
    /// Coins that are live anew, each with its rule.
    begun: Vec<(RuleRow, Coin)>,
    /// What the platform is to be asked about.
    doubts: Vec<Question>,
}

impl Watcher {
    /// Looks at the list as long as a rule, or something that is live, needs it.
    pub(crate) async fn run(self) {
        let ending = self.shared.context().shutdown.token.clone();
        let mut due = Instant::now();
        // The last list, for rules that come between two looks.
        let mut last: Option<Arc<LiveList>> = None;
        loop {
            let needed = self.is_needed();
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                () = self.shared.changed.notified() => {
                    if let Some(list) = last.as_ref().filter(|list| self.is_recent(list)) {
                        self.observe(list, false).await;
                    }
                }
                () = sleep_until(due), if needed => {
                    let pause = self.look(&mut last).await;
                    due = Instant::now() + pause;
                }
            }
        }
    }

    fn is_needed(&self) -> bool {
        let state = self.shared.state.lock();
        !state.rules.is_empty() || !state.lives.is_empty()
    }

    fn interval(&self) -> Duration {
        self.shared.registry.current().settings.pumpfun_refresh
    }

    fn is_recent(&self, list: &LiveList) -> bool {
        age(list) <= self.interval().mul_f64(1.2)
    }

    /// One look; how long until the next.
    async fn look(&self, last: &mut Option<Arc<LiveList>>) -> Duration {
        let catalogue = &self.shared.context().sources.pumpfun;
        let looked = catalogue.look().await;
        let interval = self.interval();
        match looked {
            Ok(list) => {
                let is_new =
                    last.as_ref().map(|last| last.fetched_at_ms) != Some(list.fetched_at_ms);
                self.observe(&list, is_new).await;
                let pause = pace::after_success(interval, age(&list), rand::random());
                *last = Some(list);
                pause
            }
            // Our own limit: the platform was not asked.
            Err(error) if error.kind() == Kind::Unavailable => {
                tracing::warn!(error = error.chain(), "a look at what is live is put off");
                pace::after_success(interval, Duration::ZERO, rand::random())
            }
            Err(error) => {
                let failures = {
                    let looks = &mut self.shared.state.lock().looks;
                    looks.failures = looks.failures.saturating_add(1);
                    looks.failed += 1;
                    looks.failures
                };
                let asked = catalogue.upstream().paused_for();
                let pause = pace::after_failure(interval, failures, asked, rand::random());
                let error = error.chain();
                tracing::warn!(error, failures, ?pause, "what is live is not known");
                pause
            }
        }
    }

    /// Does what a list asks for. Only a list that `is_new` says what isn't live any more.
    async fn observe(&self, list: &LiveList, is_new: bool) {
        let findings = self.compare(list, is_new);
        if is_new && !findings.seen.is_empty() {
            let ids = findings.seen.into_iter().collect();
            let stored = self.db().watch_rules_seen(ids, list.fetched_at_ms).await;
            if let Err(error) = stored {
                tracing::error!(error = error.chain(), "the database");
            }
        }
        for (rule, coin) in findings.begun {
            self.begin(&rule, &coin).await;
        }
        self.ask(findings.doubts);
    }

    fn compare(&self, list: &LiveList, is_new: bool) -> Findings {
        let now_ms = clock::now_ms();
        let live = live_coins(list);
        let mut state = self.shared.state.lock();
        let mut findings = Findings::default();
        for (mint, row) in &live {
            let (by_mint, by_creator) = state.rules_about(mint, row);
            findings.seen.extend(by_mint.map(|rule| rule.id));
            findings.seen.extend(by_creator.map(|rule| rule.id));
            // A rule about the coin itself goes before one about all coins of somebody.
            let Some(rule) = by_mint.or(by_creator) else {
                continue;
            };
            let ended_at_ms = state.ended_at_ms.get(*mint);
            let is_news = ended_at_ms.is_none_or(|ended_ms| {
                // An end in the future is one of a clock that was set back.
                *ended_ms < list.fetched_at_ms || *ended_ms > now_ms
            });
            let is_known = state.lives.contains_key(*mint) || state.asked.contains(*mint);
            if !is_news || is_known {
                continue;
            }
            let (rule, coin) = (rule.clone(), row.coin.clone());
            match state.closed.contains(*mint) {
                true if is_new => {
                    let about = Box::new((rule, coin));
                    findings.doubts.push(Question::IsLiveAgain(about));
                }
                true => {}
                false => findings.begun.push((rule, coin)),
            }
        }
        if is_new {
            let lives = state.lives.iter();
            let missing = lives.filter(|(mint, _)| !live.contains_key(mint.as_str()));
            let ends = missing.map(|(mint, live)| Question::IsOver(mint.clone(), live.id));
            findings.doubts.extend(ends);
            state.closed.retain(|mint| live.contains_key(mint.as_str()));
        }
        for id in &findings.seen {
            if let Some(rule) = state.rules.get_mut(id) {
                rule.seen_live_at_ms = Some(list.fetched_at_ms);
            }
        }
        state
            .ended_at_ms
            .retain(|_, ended_ms| (list.fetched_at_ms..=now_ms).contains(ended_ms));
        let looks = &mut state.looks;
        if is_new {
            looks.failures = 0;
            looks.done += 1;
        }
        looks.fetched_at_ms = Some(list.fetched_at_ms);
        looks.coins = live.len();
        findings
    }

    /// Begins a period, unless the rule is deleted meanwhile.
    pub(super) async fn begin(&self, rule: &RuleRow, coin: &Coin) {
        if !self.shared.state.lock().rules.contains_key(&rule.id) {
            return;
        }
        let mut period = PeriodRow {
            rule_id: Some(rule.id),
            mint: coin.mint.clone().unwrap_or_default(),
            choice: rule.choice.clone(),
            began_at_ms: clock::now_ms(),
            ..PeriodRow::default()
        };
        match self.db().insert_watch_period(period.clone()).await {
            Ok(id) => period.id = id,
            Err(error) => {
                return tracing::error!(
                    mint = period.mint,
                    error = error.chain(),
                    "a stream that is live can't be recorded"
                );
            }
        }
        tracing::info!(rule_id = rule.id, mint = period.mint, "live");
        let details = json!({
            "rule_id": rule.id,
            "mint_id": period.mint,
            "name": coin.name,
            "symbol": coin.symbol,
        });
        self.shared.context().events.emit("watch.live", details);
        self.spawn(period);
    }
}

impl State {
    /// The rule about a coin itself, and the one about its creator.
    fn rules_about(&self, mint: &str, row: &CoinRow) -> (Option<&RuleRow>, Option<&RuleRow>) {
        let creator = row.coin.creator.as_deref();
        let mut rules = self.rules.values();
        let by_mint = rules.find(|rule| rule.mint.as_deref() == Some(mint));
        let mut rules = self.rules.values();
        let by_creator =
            rules.find(|rule| rule.creator.is_some() && rule.creator.as_deref() == creator);
        (by_mint, by_creator)
    }
}

/// How old a list is; one of the future is as good as new.
fn age(list: &LiveList) -> Duration {
    let age_ms = clock::now_ms().saturating_sub(list.fetched_at_ms);
    Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
}
