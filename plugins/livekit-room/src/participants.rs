//! Who is in the room beside us; pure.

use crate::event::Participant;
use livekit_protocol as proto;
use std::collections::BTreeMap;

/// Participants that are kept. A server that names more is either hostile or a stadium, where
/// nobody asks who came.
const MAX_PARTICIPANTS: usize = 20_000;

/// Somebody came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Joined(Participant),
    Left(Participant),
}

/// The participants, by identity: who returns under another SID, or is there before and after a
/// reconnect of ours, has neither come nor gone.
#[derive(Debug, Default)]
pub(crate) struct Participants {
    own_identity: String,
    present: BTreeMap<String, Participant>,
}

impl Participants {
    /// Who is there after a join; says what that changes.
    pub(crate) fn reset(
        &mut self,
        own_identity: &str,
        others: &[proto::ParticipantInfo],
    ) -> Vec<Presence> {
        own_identity.clone_into(&mut self.own_identity);
        let before = std::mem::take(&mut self.present);
        let mut changes = Vec::new();
        for info in others {
            self.apply(info, &mut changes);
        }
        changes.retain(|change| match change {
            Presence::Joined(participant) => !before.contains_key(&participant.identity),
            Presence::Left(_) => false,
        });
        let gone = before
            .into_values()
            .filter(|participant| !self.present.contains_key(&participant.identity));
        changes.extend(gone.map(Presence::Left));
        changes
    }

    /// Whether nobody is there, as far as we were told.
    pub(crate) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Participants that came, went or changed; says who came and went.
    pub(crate) fn update(&mut self, infos: &[proto::ParticipantInfo]) -> Vec<Presence> {
        let mut changes = Vec::new();
        for info in infos {
            self.apply(info, &mut changes);
        }
        changes
    }

    fn apply(&mut self, info: &proto::ParticipantInfo, changes: &mut Vec<Presence>) {
        if info.identity == self.own_identity || info.identity.is_empty() {
            return;
        }
        let known = self.present.get(&info.identity);
        if info.state() == proto::participant_info::State::Disconnected {
            // The old self of somebody who is back already may be reported last.
            if known.is_some_and(|known| known.sid == info.sid)
                && let Some(gone) = self.present.remove(&info.identity)
            {
                changes.push(Presence::Left(gone));
            }
            return;
        }
        let is_new = known.is_none();
        if is_new && self.present.len() >= MAX_PARTICIPANTS {
            return;
        }
        let participant = Participant {
            sid: info.sid.clone(),
            identity: info.identity.clone(),
            name: info.name.clone(),
        };
        if is_new {
            changes.push(Presence::Joined(participant.clone()));
        }
        self.present.insert(info.identity.clone(), participant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::participant_info::State;

    fn person(identity: &str, sid: &str, state: State) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            identity: identity.into(),
            sid: sid.into(),
            state: state as i32,
            ..Default::default()
        }
    }

    fn told(changes: &[Presence]) -> Vec<String> {
        let tell = |change: &Presence| match change {
            Presence::Joined(one) => format!("+{}", one.identity),
            Presence::Left(one) => format!("-{}", one.identity),
        };
        changes.iter().map(tell).collect()
    }

    #[test]
    fn who_is_there_before_and_after_a_reconnect_has_neither_come_nor_gone() {
        let mut all = Participants::default();
        let there = [
            person("me", "P0", State::Active),
            person("a", "P1", State::Active),
            person("b", "P2", State::Joined),
        ];
        assert_eq!(told(&all.reset("me", &there)), ["+a", "+b"]);
        let after = [
            person("a", "P7", State::Active),
            person("c", "P8", State::Active),
        ];
        assert_eq!(told(&all.reset("me", &after)), ["+c", "-b"]);
    }

    #[test]
    fn the_old_self_of_somebody_who_is_back_does_not_take_the_new_one_away() {
        let mut all = Participants::default();
        all.reset("me", &[person("a", "P1", State::Active)]);
        let back = all.update(&[
            person("a", "P2", State::Active),
            person("a", "P1", State::Disconnected),
        ]);
        assert_eq!(told(&back), Vec::<String>::new());
        let gone = all.update(&[person("a", "P2", State::Disconnected)]);
        assert_eq!(told(&gone), ["-a"]);
        assert_eq!(
            told(&all.update(&[person("a", "P2", State::Disconnected)])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_flood_of_participants_is_bounded() {
        let mut all = Participants::default();
        for n in 0..=MAX_PARTICIPANTS {
            all.update(&[person(&n.to_string(), "P", State::Active)]);
        }
        assert_eq!(all.present.len(), MAX_PARTICIPANTS);
    }
}
