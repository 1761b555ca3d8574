//! The sizes in which a session is shown.

use haven_wire::RENDITION_WIDTHS;
use viewer_socket::{CloseReason, Hub, HubOptions, HubStats, Status};

/// A session's hubs: one for pictures of the size that comes, and one for each smaller one that viewers
/// may ask for. What is shown in one size is shown to all who ask for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Screens {
    full: Hub,
    smaller: Vec<(u32, Hub)>,
}

impl Screens {
    /// Of the session of this name.
    pub(crate) fn new(name: &str) -> Self {
        let hub = || {
            Hub::new(HubOptions {
                name: Some(name.to_owned()),
                ..HubOptions::default()
            })
        };
        Self {
            full: hub(),
            smaller: RENDITION_WIDTHS.map(|width| (width, hub())).into(),
        }
    }

    /// Where pictures are of at most this width.
    pub(crate) fn of(&self, max_width: Option<u32>) -> &Hub {
        let found = self
            .smaller
            .iter()
            .find(|(width, _)| Some(*width) == max_width);
        found.map_or(&self.full, |(_, hub)| hub)
    }

    /// All hubs, with the greatest width of their pictures.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Option<u32>, &Hub)> {
        let smaller = self.smaller.iter().map(|(width, hub)| (Some(*width), hub));
        smaller.chain([(None, &self.full)])
    }

    /// Tells every viewer, now and later.
    pub(crate) fn set_status(&self, status: &Status) {
        for (_, hub) in self.all() {
            hub.set_status(status.clone());
        }
    }

    /// Closes every viewer's connection.
    pub(crate) fn close(&self, reason: &CloseReason) {
        for (_, hub) in self.all() {
            hub.close(reason.clone());
        }
    }

    /// How many watch.
    pub(crate) fn viewers(&self) -> usize {
        self.all().map(|(_, hub)| hub.stats().viewers).sum()
    }

    /// What has gone to viewers.
    pub(crate) fn stats(&self) -> HubStats {
        let mut sum = HubStats::default();
        for (_, hub) in self.all() {
            add(&mut sum, &hub.stats());
        }
        sum
    }
}

/// Adds what has gone to some viewers to what has gone to others.
pub(crate) fn add(sum: &mut HubStats, stats: &HubStats) {
    sum.viewers += stats.viewers;
    sum.frames_published += stats.frames_published;
    sum.frames_sent += stats.frames_sent;
    sum.frames_skipped += stats.frames_skipped;
    sum.audio_published += stats.audio_published;
    sum.audio_lagged += stats.audio_lagged;
    sum.bytes_sent += stats.bytes_sent;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_that_is_offered_has_a_hub_of_its_own() {
        let screens = Screens::new("room");
        let sizes: Vec<_> = screens.all().map(|(width, _)| width).collect();
        assert_eq!(sizes, [Some(320), Some(640), None]);
        for (width, hub) in screens.all() {
            assert!(std::ptr::eq(hub, screens.of(width)), "{width:?}");
        }
    }
}
