//! Recordings that are files which grow.

use crate::{behaviour::sudden_end, say, tools::until_released};
use haven_wire::{
    EndReason, Gap, PartReason, RecordingConfig, RecordingProgress, SessionConfig, WorkerMessage,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tokio::time::interval;

/// Recordings that this worker has begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

pub(crate) type Recordings = HashMap<i64, Recording>;

pub(crate) struct Recording {
    config: RecordingConfig,
    file: File,
    path: PathBuf,
    began: Instant,
    written: u64,
    /// Of the file.
    part: u32,
    /// Which one of the worker's recordings it is, from 1.
    nth: u32,
    /// The file before, complete and not yet told to be.
    before: Option<RecordingProgress>,
}

impl Recording {
    fn begin(config: &RecordingConfig) -> Result<Self, String> {
        let path = match config.format.as_str() {
            "source" => config.path.with_extension("webm"),
            _ => config.path.clone(),
        };
        Ok(Self {
            config: config.clone(),
            file: create(&path)?,
            path,
            began: Instant::now(),
            written: 0,
            part: 1,
            nth: BEGUN.fetch_add(1, Ordering::SeqCst) + 1,
            before: None,
        })
    }

    fn progress(&self, behaviour: &str) -> RecordingProgress {
        let gap = Gap {
            at_ms: 100,
            for_ms: 50,
        };
        let gappy = behaviour == "gappy" && self.written > 20;
        RecordingProgress {
            recording_id: self.config.recording_id,
            duration_ms: self.written * 10,
            bytes: self.written,
            dropped_frames: u64::from(gappy),
            path: self.path.clone(),
            gaps: gappy.then_some(gap).into_iter().collect(),
        }
    }

    fn grow(&mut self) {
        let due = u64::try_from(self.began.elapsed().as_millis() / 10).unwrap();
        let missing = usize::try_from(due - self.written).unwrap();
        self.file.write_all(&vec![b'x'; missing]).unwrap();
        self.written = due;
    }

    /// Goes on in a further file, and says of the one before only at the next tick that it is
    /// complete.
    fn split(&mut self, behaviour: &str) {
        if let Some(progress) = self.before.take() {
            say(&WorkerMessage::RecordingPartFinished {
                progress,
                reason: PartReason::Split,
                error: None,
            });
        }
        let split = self.config.split;
        // So that a test needs neither minutes nor a large file, a byte, which is 10 ms, counts for
        // 200 ms and for a thousand.
        let long = split.after_ms > 0 && self.written * 200 >= split.after_ms;
        let large = split.after_bytes > 0 && self.written * 1000 >= split.after_bytes;
        if !long && !large {
            return;
        }
        self.before = Some(self.progress(behaviour));
        self.part += 1;
        let stem = self.config.path.file_stem().unwrap().to_str().unwrap();
        let extension = self.path.extension().unwrap().to_str().unwrap();
        let name = format!("{stem}_part{}.{extension}", self.part);
        self.path = self.path.with_file_name(name);
        self.file = create(&self.path).unwrap();
        self.began = Instant::now();
        self.written = 0;
        say(&WorkerMessage::RecordingPartStarted {
            recording_id: self.config.recording_id,
            path: self.path.clone(),
        });
    }

    /// An orphan is slow: it still writes when the next server is up.
    pub(crate) fn linger(&mut self) {
        until_released(&self.path);
        self.file.write_all(&[b'x'; 1000]).unwrap();
        self.written += 1000;
    }

    fn finish(mut self, behaviour: &str) {
        if let Some(progress) = self.before.take() {
            say(&WorkerMessage::RecordingPartFinished {
                progress,
                reason: PartReason::Split,
                error: None,
            });
        }
        say(&WorkerMessage::RecordingFinished {
            progress: self.progress(behaviour),
            error: None,
            disk_full: false,
        });
    }
}

fn create(path: &Path) -> Result<File, String> {
    let file = File::create_new(path).map_err(|error| error.to_string())?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    Ok(file)
}

/// A recording has ended, as its worker says.
fn end(progress: RecordingProgress, recording_id: i64, error: Option<&str>) {
    say(&WorkerMessage::RecordingFinished {
        progress: RecordingProgress {
            recording_id,
            ..progress
        },
        error: error.map(ToOwned::to_owned),
        disk_full: false,
    });
}

/// Recordings that fail once 30 bytes of them are written: the first two files of `faulty`, the first
/// one of `speechless`, of which nothing is told then, and all of `barren`, of which only the first
/// one gets that far.
pub(crate) fn fail(recordings: &mut Recordings, behaviour: &str) {
    let most = match behaviour {
        "faulty" => 2,
        "speechless" | "barren" => 1,
        _ => return,
    };
    let failing = |_: &i64, one: &mut Recording| one.written > 30 && one.nth <= most;
    for (id, recording) in recordings.extract_if(failing) {
        match behaviour {
            "speechless" => end(RecordingProgress::default(), id, Some("a fault")),
            _ => end(recording.progress(behaviour), id, Some("a fault")),
        }
    }
}

pub(crate) async fn stop_recording(
    recordings: &mut HashMap<i64, Recording>,
    id: i64,
    behaviour: &str,
) {
    if behaviour == "late-refusal" {
        return refuse(id, "the encoder has thought about it");
    }
    let Some(recording) = recordings.remove(&id) else {
        if matches!(behaviour, "mute" | "dries-up") {
            end(RecordingProgress::default(), id, None);
        }
        return;
    };
    if behaviour == "slow-finish" {
        until_there(&recording.path.with_file_name("finish")).await;
    }
    recording.finish(behaviour);
}

/// Waits for a file.
async fn until_there(path: &Path) {
    let mut tick = interval(Duration::from_millis(10));
    while !path.exists() {
        tick.tick().await;
    }
}

pub(crate) fn finish_all(recordings: &mut Recordings, behaviour: &str) -> EndReason {
    for (_, recording) in recordings.drain() {
        recording.finish(behaviour);
    }
    EndReason::Stopped
}

/// Writes what is due; says why the session ends, where it does.
pub(crate) fn grow_all(recordings: &mut Recordings, config: &SessionConfig) -> Option<EndReason> {
    for recording in recordings.values_mut() {
        recording.grow();
        say(&WorkerMessage::RecordingProgress(
            recording.progress(&config.key),
        ));
        recording.split(&config.key);
    }
    let is_long = recordings.values().any(|recording| recording.written > 30);
    let reason = sudden_end(config).filter(|_| is_long)?;
    finish_all(recordings, &config.key);
    Some(reason)
}

pub(crate) fn start_recording(
    recordings: &mut HashMap<i64, Recording>,
    config: &RecordingConfig,
    behaviour: &str,
) {
    let begun = match behaviour {
        "late-refusal" => return,
        "bad-recording" => Err("the encoder is on strike".to_owned()),
        "barren" if BEGUN.load(Ordering::SeqCst) > 0 => Err("nothing gets out".to_owned()),
        _ => Recording::begin(config),
    };
    match begun {
        Ok(recording) => {
            let encodes = !matches!(config.format.as_str(), "source" | "wav");
            let path = match behaviour {
                "astray" => "/etc/passwd".into(),
                _ => recording.path.clone(),
            };
            if behaviour != "unannounced" {
                say(&WorkerMessage::RecordingStarted {
                    recording_id: config.recording_id,
                    encoder: encodes.then(|| "fakeenc".to_owned()),
                    path,
                });
            }
            recordings.insert(config.recording_id, recording);
        }
        Err(error) => refuse(config.recording_id, &error),
    }
}

fn refuse(recording_id: i64, why: &str) {
    say(&WorkerMessage::RecordingFinished {
        progress: RecordingProgress {
            recording_id,
            ..RecordingProgress::default()
        },
        error: Some(why.to_owned()),
        disk_full: false,
    });
}
