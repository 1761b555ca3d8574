//! From RTP time to the time a frame is to be shown; pure.
//!
//! Each track counts time on a clock of its own, from a random start. Two facts tie it to ours:
//!
//! - **Arrival.** No packet comes before it was sent, so the smallest difference seen between
//!   arrival and RTP time (the *floor*, over a sliding window) is the offset of the two clocks plus
//!   the shortest way through the network. That removes the network's jitter from the time stamps.
//! - **Sender reports** (RFC 3550, 6.4.1) name RTP time and the publisher's wall clock of one
//!   instant. Once two tracks of a publisher have them, the tracks can be compared: the one whose
//!   way is shorter is delayed until both are together again. Delayed, not advanced: a frame that
//!   is to be shown before it came would be late everywhere downstream.
//!
//! Every correction is slewed, so that no step is seen or heard: quickly in a track's first moments,
//! when its floor has just begun to be known, slowly later. Only a jump of the RTP clock itself makes
//! a step.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Half of the window in which the floor is sought. Long enough to see a packet that wasn't
/// delayed even when a machine or a network is busy for seconds, short enough to follow two quartz
/// clocks that drift apart by 100 ppm to within 2 ms.
const FLOOR_WINDOW: i64 = 10_000_000_000;

/// How fast a correction moves, as a part of the time that passes: 25 ms a second. 150 ms of
/// difference between audio and video are gone after 6 s, and no decoder or mixer notices.
const SLEW: f64 = 0.025;

/// A track's first packets are often late: they come in a burst, to a machine that is busy with the
/// join. For this long after its start what they claimed is corrected quickly.
const SETTLING: i64 = 1_000_000_000;

/// How fast, as a part of the media time that passes: 100 ms too many are gone after 200 ms, while
/// frames still follow one another at half their distance. A step would put several at one instant.
const SETTLING_SLEW: f64 = 0.5;

/// Packets that come this much earlier than the floor allows mean that RTP time jumped ahead.
const JUMP_AHEAD: i64 = 1_000_000_000;

/// Packets this late mean that RTP time jumped back. Longer than any stall that a connection
/// survives, since late packets of a stall must keep their own time.
const JUMP_BACK: i64 = 30_000_000_000;

/// Two tracks of one publisher that are further apart than this don't have comparable reports.
const MAX_SYNC_DELAY: i64 = 2_000_000_000;

/// What an RTCP sender report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// The publisher's wall clock.
    pub ntp: SystemTime,
    /// RTP time of the same instant (32 bits, wraps).
    pub rtp: u32,
}

/// One frame's times.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// RTP time, extended so that it doesn't wrap.
    pub rtp: u64,
    /// Ticks of RTP time a second; not 0.
    pub clock_rate: u32,
    /// When its first packet came.
    pub arrival: Instant,
    /// The newest sender report of the track.
    pub report: Option<SenderReport>,
}

/// The common time line of all tracks of a room.
#[derive(Debug, Default)]
pub struct Timeline {
    epoch: Option<Instant>,
    tracks: HashMap<Arc<str>, TrackClock>,
}

impl Timeline {
    /// When the frame is to be shown, on the clock of [`Sample::arrival`]. Grows strictly within
    /// a track.
    ///
    /// `publisher` names the clock of the sender reports: only tracks of one publisher are
    /// brought together.
    pub fn map(&mut self, publisher: &Arc<str>, track: &Arc<str>, sample: &Sample) -> Instant {
        let epoch = *self.epoch.get_or_insert(sample.arrival);
        let arrival = nanos_between(epoch, sample.arrival);
        let clock = self
            .tracks
            .entry(track.clone())
            .or_insert_with(|| TrackClock::new(publisher.clone(), sample, arrival));
        let media = clock.observe(sample, arrival);
        let sync_delay = self.sync_delay(track);
        match self.tracks.get_mut(track) {
            Some(clock) => instant_at(epoch, clock.show(media, arrival, sync_delay)),
            None => sample.arrival,
        }
    }

    /// Forgets a track that delivers no more frames.
    pub fn remove(&mut self, track: &str) {
        self.tracks.remove(track);
    }

    /// Forgets all tracks (their RTP clocks start anew with a new connection).
    pub fn clear(&mut self) {
        self.tracks.clear();
    }

    /// How long the track waits for the slowest other track of its publisher.
    fn sync_delay(&self, track: &Arc<str>) -> i64 {
        let Some(clock) = self.tracks.get(track) else {
            return 0;
        };
        let Some(own) = clock.transit() else {
            return 0;
        };
        let slowest = self
            .tracks
            .values()
            .filter(|other| other.publisher == clock.publisher)
            .filter_map(TrackClock::transit)
            .filter(|other| other.saturating_sub(own) <= MAX_SYNC_DELAY)
            .fold(own, i64::max);
        slowest - own
    }
}

/// One track's RTP clock against ours. Nanoseconds since the time line's epoch throughout.
#[derive(Debug)]
struct TrackClock {
    publisher: Arc<str>,
    /// RTP time that counts as media time 0.
    origin: u64,
    clock_rate: u32,
    /// Smallest arrival − media time seen in the current and in the previous window.
    floor: i64,
    previous_floor: i64,
    window_start: i64,
    /// Publisher's wall clock − media time, from sender reports.
    wall_offset: Option<f64>,
    last_report: Option<SenderReport>,
    /// What is added to media time at present, on its way to what it should be.
    offset: f64,
    /// When the first frame came.
    start: i64,
    /// The newest media time.
    last_media: i64,
    last_shown: i64,
}

impl TrackClock {
    fn new(publisher: Arc<str>, sample: &Sample, arrival: i64) -> Self {
        Self {
            publisher,
            origin: sample.rtp,
            clock_rate: sample.clock_rate.max(1),
            floor: arrival,
            previous_floor: arrival,
            window_start: arrival,
            wall_offset: None,
            last_report: None,
            offset: arrival as f64,
            start: arrival,
            last_media: 0,
            last_shown: i64::MIN,
        }
    }

    /// Takes in a frame's times; returns its media time.
    fn observe(&mut self, sample: &Sample, arrival: i64) -> i64 {
        let mut media = self.media_time(sample.rtp);
        let transit = arrival - media;
        let floor = self.floor.min(self.previous_floor);
        if transit < floor - JUMP_AHEAD || transit > floor + JUMP_BACK {
            *self = Self {
                last_shown: self.last_shown,
                ..Self::new(self.publisher.clone(), sample, arrival)
            };
            media = 0;
        }
        self.update_floor(arrival - media, arrival);
        self.update_report(sample);
        media
    }

    fn media_time(&self, rtp: u64) -> i64 {
        let ticks = i128::from(rtp) - i128::from(self.origin);
        (ticks * 1_000_000_000 / i128::from(self.clock_rate)) as i64
    }

    fn update_floor(&mut self, transit: i64, arrival: i64) {
        if arrival - self.window_start >= FLOOR_WINDOW {
            self.previous_floor = self.floor;
            self.floor = transit;
            self.window_start = arrival;
        } else {
            self.floor = self.floor.min(transit);
        }
    }

    fn update_report(&mut self, sample: &Sample) {
        let Some(report) = sample.report else { return };
        if self.last_report == Some(report) {
            return;
        }
        self.last_report = Some(report);
        let Ok(wall) = report.ntp.duration_since(UNIX_EPOCH) else {
            return;
        };
        // The report's RTP time has 32 bits and the sample's is extended by its own count of
        // wraps, so only the 32-bit difference means something.
        let ticks = (report.rtp).wrapping_sub(sample.rtp as u32) as i32;
        let media = self.media_time(sample.rtp)
            + i64::from(ticks) * 1_000_000_000 / i64::from(self.clock_rate);
        let measured = wall.as_nanos() as f64 - media as f64;
        // A report's own error is a few milliseconds (the server rewrites it): average.
        self.wall_offset = Some(match self.wall_offset {
            Some(known) if (measured - known).abs() < MAX_SYNC_DELAY as f64 => {
                known + (measured - known) / 4.0
            }
            _ => measured,
        });
    }

    /// Shortest way from the publisher's wall clock to us; comparable within one publisher only.
    fn transit(&self) -> Option<i64> {
        let floor = self.floor.min(self.previous_floor);
        self.wall_offset.map(|wall| floor - wall as i64)
    }

    fn show(&mut self, media: i64, arrival: i64, sync_delay: i64) -> i64 {
        let target = (self.floor.min(self.previous_floor) + sync_delay) as f64;
        // Media time, not arrival: of a burst each frame takes its part of the correction.
        let elapsed = (media - self.last_media).max(0) as f64;
        self.last_media = self.last_media.max(media);
        let settling = arrival - self.start < SETTLING;
        let down = elapsed * if settling { SETTLING_SLEW } else { SLEW };
        self.offset += (target - self.offset).clamp(-down, elapsed * SLEW);
        let shown = (media + self.offset as i64).max(self.last_shown.saturating_add(1));
        self.last_shown = shown;
        shown
    }
}

fn nanos_between(from: Instant, to: Instant) -> i64 {
    match to.checked_duration_since(from) {
        Some(after) => after.as_nanos() as i64,
        None => -(from.duration_since(to).as_nanos() as i64),
    }
}

fn instant_at(epoch: Instant, nanos: i64) -> Instant {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos >= 0 {
        epoch + distance
    } else {
        epoch.checked_sub(distance).unwrap_or(epoch)
    }
}

#[cfg(test)]
mod tests;
