//! A worker under test, driven as the server drives it.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use futures_util::StreamExt;
use haven_wire::{
    AudioChoice, ChosenEncoders, PartReason, RecordingConfig, RecordingProgress, ServerMessage,
    SessionConfig, SessionState, Source, Split, WorkerMessage, encode_line,
};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::net::UnixStream;
use viewer_socket::{RelayMessage, decode_relay};

/// The machine may be busy with other things: this says "never", not "slow".
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_haven-worker");

/// A recording of medium quality.
pub(crate) fn recording(id: i64, format: &str, path: &Path) -> RecordingConfig {
    RecordingConfig {
        recording_id: id,
        format: format.into(),
        quality: "medium".into(),
        encoders: ChosenEncoders::default(),
        path: path.into(),
        audio: AudioChoice::default(),
        split: Split::default(),
    }
}

pub(crate) struct Worker {
    process: Child,
    input: Option<ChildStdin>,
    messages: Receiver<WorkerMessage>,
    pub(crate) folder: TempDir,
}

impl Worker {
    /// A worker that was told nothing yet.
    pub(crate) fn spawn() -> Self {
        let mut process = Command::new(WORKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, messages) = channel();
        // Ends with the worker's standard output.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let message = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("not a message: {line:?}: {error}"));
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            input: process.stdin.take(),
            process,
            messages,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A worker that shows the demo room.
    pub(crate) fn demo() -> Self {
        let mut worker = Self::spawn();
        worker.start(Source::Demo);
        worker.wait(|message| match message {
            WorkerMessage::Status(status) => {
                (status.state == SessionState::Live && status.video.is_some()).then_some(())
            }
            _ => None,
        });
        worker
    }

    pub(crate) fn start(&mut self, source: Source) {
        let config = SessionConfig {
            session_id: 1,
            key: "demo".into(),
            source,
            media_socket: self.socket(),
            waiting_timeout_ms: 0,
            formats_dir: None,
        };
        self.send(&ServerMessage::Start(config));
        self.wait(|message| matches!(message, WorkerMessage::Ready { .. }).then_some(()));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("media.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn send(&mut self, message: &ServerMessage) {
        self.write(&encode_line(message).unwrap());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The first message from now on that `pick` wants.
    pub(crate) fn wait<T>(&self, pick: impl Fn(&WorkerMessage) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self
                .messages
                .recv_timeout(left)
                .expect("no such message came");
            if let Some(picked) = pick(&message) {
                return picked;
            }
        }
    }

    /// Asks for a recording without waiting for it.
    pub(crate) fn ask_to_record(&mut self, id: i64, format: &str, quality: &str, path: &Path) {
        self.ask(RecordingConfig {
            quality: quality.into(),
            ..recording(id, format, path)
        });
    }

    /// Asks for a recording without waiting for it.
    pub(crate) fn ask(&mut self, config: RecordingConfig) {
        self.send(&ServerMessage::StartRecording(config));
    }

    /// The file that a recording begins with.
    pub(crate) fn started(&self, id: i64) -> PathBuf {
        self.wait(|message| match message {
            WorkerMessage::RecordingStarted {
                recording_id, path, ..
            } if *recording_id == id => Some(path.clone()),
            WorkerMessage::RecordingFinished { error, .. } => panic!("{error:?}"),
            _ => None,
        })
    }

    /// The next file that is complete while its recording goes on.
    pub(crate) fn part_finished(&self) -> (RecordingProgress, PartReason) {
        self.wait(|message| match message {
            WorkerMessage::RecordingPartFinished {
                progress,
                reason,
                error,
            } => {
                assert_eq!(*error, None);
                Some((progress.clone(), *reason))
            }
            _ => None,
        })
    }

    /// Starts a recording and waits until it runs; the encoder.
    pub(crate) fn record(&mut self, id: i64, format: &str, path: &Path) -> String {
        self.ask_to_record(id, format, "medium", path);
        self.wait(|message| match message {
            WorkerMessage::RecordingStarted {
                recording_id,
                encoder,
                ..
            } if *recording_id == id => Some(encoder.clone().unwrap_or_default()),
            WorkerMessage::RecordingFinished { error, .. } => panic!("{error:?}"),
            _ => None,
        })
    }

    /// Waits until so much is in the file, as the worker reports it.
    pub(crate) fn wait_for_length(&self, id: i64, length: Duration) {
        self.wait(|message| match message {
            WorkerMessage::RecordingProgress(progress) if progress.recording_id == id => {
                (u128::from(progress.duration_ms) >= length.as_millis()).then_some(())
            }
            _ => None,
        });
    }

    /// How a recording ended.
    pub(crate) fn finished(&self, id: i64) -> (RecordingProgress, Option<String>) {
        self.wait(|message| match message {
            WorkerMessage::RecordingFinished {
                progress, error, ..
            } if progress.recording_id == id => Some((progress.clone(), error.clone())),
            _ => None,
        })
    }

    pub(crate) fn stop_recording(&mut self, id: i64) -> RecordingProgress {
        self.send(&ServerMessage::StopRecording { recording_id: id });
        let (progress, error) = self.finished(id);
        assert_eq!(error, None);
        progress
    }

    /// What the server's death looks like.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the worker exits", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Names of the worker's threads; a source's is named after it.
    pub(crate) fn threads(&self) -> Vec<String> {
        std::fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until something is true.
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: never");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A viewer on the worker's media socket.
pub(crate) struct Viewer {
    socket: tokio_tungstenite::WebSocketStream<UnixStream>,
}

impl Viewer {
    pub(crate) async fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async("ws://localhost/relay", stream)
            .await
            .unwrap();
        Self { socket }
    }

    pub(crate) async fn next(&mut self) -> RelayMessage {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let message = message.expect("nothing came").unwrap().unwrap();
            if message.is_binary() {
                return decode_relay(&message.into_data()).unwrap();
            }
        }
    }
}

/// What ffprobe says of one stream of a file.
pub(crate) fn stream_entry(path: &Path, stream: &str, entry: &str) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-show_entries"])
        .arg(format!("stream={entry}"))
        .args(["-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe (Debian package ffmpeg) is needed");
    assert!(output.status.success(), "ffprobe: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Decodes a file to its end; how many pictures and seconds of sound came out.
///
/// # Panics
/// On the first error in the file.
pub(crate) fn decode(path: &Path) -> (usize, f64) {
    let run = |arguments: &[&str]| {
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-xerror", "-i"])
            .arg(path)
            .args(arguments)
            .output()
            .expect("ffmpeg is needed");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && log.is_empty(), "ffmpeg: {log}");
        output.stdout
    };
    let has_pictures = !stream_entry(path, "v:0", "codec_name").is_empty();
    let hashes = if has_pictures {
        run(&["-map", "0:v", "-f", "framehash", "-hash", "adler32", "-"])
    } else {
        Vec::new()
    };
    let pictures = String::from_utf8(hashes)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    let sound = run(&["-map", "0:a", "-f", "s16le", "-ar", "8000", "-ac", "1", "-"]);
    (pictures, sound.len() as f64 / 16_000.0)
}
