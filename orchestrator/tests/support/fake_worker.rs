//! A worker without GStreamer: speaks the protocol, serves invented frames, and misbehaves as the
//! session's key tells it to (`never-ready`, `no-join`, `refused`, `no-server`, `crash-at-start`,
//! `stubborn`, `slow-join`, `slow-finish`, `deleted`, `bad-recording`, `token`, `crash-loop`, `outage`,
//! `wandering`, `roaming`, `gappy`, `closed`, `deserted`, `banned`, `breaks`, `hollow`, `orphan`,
//! `stubborn-file`, `faulty`, `barren`, `speechless`, `mute`, `dries-up`, `idle`, `hungry`, …). A
//! "recording" is a file that grows by one byte each 10 ms; `--measure` takes its size for its
//! length, `--join` strings files together, unless `unfit` is in their names. What keeps the
//! publisher's encoding becomes a webm file, and is split as it is asked for.

#![allow(clippy::unwrap_used, reason = "a part of the tests")]

use bytes::Bytes;
use haven_wire::{
    Cost, Costs, EndReason, FormatProbe, Gap, LineReader, PartReason, Probe, RecordingConfig,
    RecordingProgress, ServerMessage, SessionConfig, SessionState, SessionStatus, TokenReply,
    WorkerMessage, encode_line, rendition_socket,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix::pipe},
    time::interval,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use viewer_socket::{
    AudioChunk, Hub, HubOptions, Protocol, VideoFrame, ViewerOptions, serve_viewer,
};

/// A coin whose worker asks for a token, and that is over by then.
const OVER: &str = "4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R";
/// Recordings that this worker has begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--probe"] => println!("{}", serde_json::to_string(&probe()).unwrap()),
        ["--costs"] => println!("{}", serde_json::to_string(&costs()).unwrap()),
        ["--measure", path] => {
            if path.contains("slow_") {
                until_released(Path::new(path));
            }
            measure(path);
        }
        ["--thumbnail", path, _] if path.ends_with(".wav") => unfit("no picture"),
        ["--thumbnail", path, jpeg] => {
            let film = std::fs::read(path).unwrap();
            std::fs::write(jpeg, format!("jpeg of {} bytes", film.len())).unwrap();
            println!("{{\"width\": 2, \"height\": 2}}");
        }
        ["--join", _, ref parts @ ..] if parts.iter().any(|part| part.contains("unfit")) => {
            unfit("part 2 has another size")
        }
        ["--join", output, ref parts @ ..] => {
            let parts: Vec<_> = parts
                .iter()
                .map(|part| std::fs::read(part).unwrap())
                .collect();
            std::fs::write(output, parts.concat()).unwrap();
            measure(output);
        }
        [] => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(run()),
        _ => std::process::exit(2),
    }
}

/// A recording that encodes takes ten cores, a viewer one: beside that, what the server itself takes
/// is nothing.
fn costs() -> Costs {
    let cost = |cpu| Cost {
        cpu,
        memory_bytes: 1 << 20,
    };
    let of = |cpu| [("medium".to_owned(), cost(cpu))].into();
    Costs {
        session: cost(0.1),
        decoding: cost(2.5),
        preview: cost(1.0),
        recordings: [
            ("h264".to_owned(), of(10.0)),
            ("source".to_owned(), of(0.1)),
        ]
        .into(),
    }
}

fn probe() -> Probe {
    let h264 = FormatProbe {
        description: "H.264 codec".into(),
        codec: "libx264".into(),
        audio_codec: "aac".into(),
        container: "mp4".into(),
        aliases: vec!["mp4".into()],
        encoder: Some("fakeenc".into()),
        ..FormatProbe::default()
    };
    let vp9 = FormatProbe {
        container: "webm".into(),
        aliases: vec!["webm".into()],
        ..h264.clone()
    };
    let av1 = FormatProbe {
        aliases: Vec::new(),
        encoder: None,
        missing: [("av1enc".to_owned(), "gstreamer1.0-plugins-bad".to_owned())].into(),
        ..h264.clone()
    };
    let source = FormatProbe {
        codec: haven_wire::COPIED.into(),
        audio_codec: "copy".into(),
        aliases: Vec::new(),
        encoder: None,
        ..h264.clone()
    };
    let wav = FormatProbe {
        codec: haven_wire::NO_VIDEO.into(),
        audio_codec: "pcm_s16le".into(),
        container: "wav".into(),
        ..source.clone()
    };
    let formats = [
        ("h264", h264),
        ("vp9", vp9),
        ("av1", av1),
        ("source", source),
        ("wav", wav),
    ];
    Probe {
        worker_version: "fake".into(),
        gstreamer_version: "none".into(),
        formats: formats
            .map(|(name, format)| (name.to_owned(), format))
            .into(),
        ..Probe::default()
    }
}

fn unfit(why: &str) {
    println!("{{\"error\": \"{why}\"}}");
    std::process::exit(3);
}

fn measure(path: &str) {
    let Ok(metadata) = std::fs::metadata(path) else {
        println!("{{\"error\": \"no such file\"}}");
        std::process::exit(1);
    };
    let bytes = metadata.len();
    if path.contains("hollow") && bytes < 10 {
        unfit("nothing in it plays");
    }
    println!("{{\"duration_ms\": {}, \"bytes\": {bytes}}}", bytes * 10);
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing but the file itself tells of it"
)]
/// Waits until the test has made the file `released` beside this one.
fn until_released(path: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    while !path.with_file_name("released").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn say(message: &WorkerMessage) {
    let mut out = std::io::stdout();
    // The server may be gone; its end is noticed at the input.
    let _ = out.write_all(&encode_line(message).unwrap());
    let _ = out.flush();
}

struct Recording {
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

fn create(path: &Path) -> Result<File, String> {
    let file = File::create_new(path).map_err(|error| error.to_string())?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    Ok(file)
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
    fn linger(&mut self) {
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

async fn run() {
    let input = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut reader = LineReader::new(pipe::Receiver::from_owned_fd(input).unwrap());
    let Ok(Some(ServerMessage::Start(config))) = reader.next().await else {
        std::process::exit(3);
    };
    let behaviour = config.key.clone();
    eprintln!("2026-01-01T00:00:00.000000Z  WARN fake_worker: at work");
    match behaviour.as_str() {
        "never-ready" => return std::future::pending().await,
        "crash-at-start" => std::process::exit(7),
        _ => {}
    }
    let hub = Hub::new(HubOptions::default());
    serve_media(&config.media_socket, hub.clone());
    say(&WorkerMessage::Ready {
        version: "fake".into(),
    });
    if behaviour == "slow-join" {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if !join(&config) {
        if behaviour == "no-join" {
            // Until the server gives up.
            while let Ok(Some(message)) = reader.next::<ServerMessage>().await {
                if message == ServerMessage::Shutdown {
                    break;
                }
            }
        }
        return;
    }
    let reason = work(&mut reader, &config, &hub).await;
    if behaviour == "stubborn" {
        // Neither `Shutdown` nor SIGINT helps.
        let mut interrupts =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).unwrap();
        while interrupts.recv().await.is_some() {}
    }
    say(&WorkerMessage::Ended { reason });
    let _ = std::fs::remove_file(&config.media_socket);
}

/// Whether this is the second worker of a session, or a later one up to the `last`.
fn is_replacement(config: &SessionConfig, last: u32) -> bool {
    let name = config.media_socket.to_str().unwrap();
    let generation: u32 = name.rsplit_once('-').unwrap().1.parse().unwrap();
    (2..=last).contains(&generation)
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
fn fail(recordings: &mut Recordings, behaviour: &str) {
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

/// How a session ends by itself once something of it is recorded.
fn sudden_end(config: &SessionConfig) -> Option<EndReason> {
    let message = || "invented".to_owned();
    match config.key.as_str() {
        "closed" => Some(EndReason::RoomDeleted),
        "deserted" => Some(EndReason::NoPublisher),
        "banned" => Some(EndReason::NotAuthorized { message: message() }),
        "breaks" if !is_replacement(config, u32::MAX) => {
            Some(EndReason::Error { message: message() })
        }
        _ => None,
    }
}

/// Whether nothing comes that could be recorded.
fn is_dry(config: &SessionConfig) -> bool {
    match config.key.as_str() {
        "mute" => true,
        "dries-up" => is_replacement(config, u32::MAX),
        _ => false,
    }
}

/// Through all states, and back.
fn wander(frame: u64) {
    match frame {
        20 => say(&status("wandering", SessionState::Waiting)),
        40 => say(&status("wandering", SessionState::Reconnecting)),
        60 => say(&status("wandering", SessionState::Live)),
        _ => {}
    }
}

/// Whether the room could be joined; if not, says why.
fn join(config: &SessionConfig) -> bool {
    let ended = |reason| say(&WorkerMessage::Ended { reason });
    let message = || "invented".to_owned();
    match config.key.as_str() {
        "no-join" => return false,
        "refused" => ended(EndReason::NotAuthorized { message: message() }),
        "no-server" => ended(EndReason::Connection { message: message() }),
        "outage" if is_replacement(config, 3) => {
            ended(EndReason::Connection { message: message() });
        }
        "broken" => ended(EndReason::Error { message: message() }),
        _ => {
            say(&status(&config.key, SessionState::Connecting));
            let state = match config.key.starts_with("idle") {
                true => SessionState::Waiting,
                false => SessionState::Live,
            };
            say(&status(&config.key, state));
            if config.key == "crash-loop" {
                std::process::exit(9);
            }
            return true;
        }
    }
    false
}

fn status(key: &str, state: SessionState) -> WorkerMessage {
    let joined = state != SessionState::Connecting;
    WorkerMessage::Status(SessionStatus {
        state,
        room_name: if joined {
            format!("room of {key}")
        } else {
            String::new()
        },
        // So that a test can find the process.
        participant_sid: joined.then(|| format!("PA_{}", std::process::id())),
        video: None,
        audio: None,
        publishers: Vec::new(),
    })
}

async fn stop_recording(recordings: &mut HashMap<i64, Recording>, id: i64, behaviour: &str) {
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

async fn work<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut LineReader<R>,
    config: &SessionConfig,
    hub: &Hub,
) -> EndReason {
    let behaviour = config.key.as_str();
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    if behaviour == "hungry" && !is_replacement(config, u32::MAX) {
        std::hint::black_box(Vec::<u8>::with_capacity(1 << 30));
    }
    let mut recordings = Recordings::new();
    let mut tick = interval(Duration::from_millis(20));
    let mut frame = 0u64;
    if matches!(behaviour, "token" | OVER) {
        say(&WorkerMessage::TokenRequest { request_id: 42 });
    }
    loop {
        tokio::select! {
            _ = tick.tick() => {
                frame += 1;
                publish(hub, frame, 2);
                match behaviour {
                    "wandering" => wander(frame),
                    "roaming" => wander(frame % 80),
                    _ => {}
                }
                fail(&mut recordings, behaviour);
                if let Some(reason) = grow_all(&mut recordings, config) {
                    return reason;
                }
                if behaviour == "deleted" && frame == 50 {
                    say(&WorkerMessage::Ended { reason: EndReason::RoomDeleted });
                    std::process::exit(0);
                }
            }
            message = reader.next::<ServerMessage>() => match message {
                Ok(Some(ServerMessage::StartRecording(_))) if is_dry(config) => {}
                Ok(Some(ServerMessage::StartRecording(recording))) => {
                    start_recording(&mut recordings, &recording, behaviour);
                    if behaviour == "hollow" && is_replacement(config, 3) {
                        std::process::exit(9);
                    }
                }
                Ok(Some(ServerMessage::StopRecording { .. })) if behaviour == "stubborn-file" => {}
                Ok(Some(ServerMessage::StopRecording { recording_id })) => {
                    stop_recording(&mut recordings, recording_id, behaviour).await;
                }
                Ok(Some(ServerMessage::Token(token))) => show_token(&token),
                Ok(Some(ServerMessage::Show { width })) => show_smaller(config, width),
                Ok(Some(ServerMessage::Start(_)) ) => {}
                Ok(Some(ServerMessage::Shutdown) | None) | Err(_) => {
                    if behaviour == "orphan" {
                        recordings.values_mut().for_each(Recording::linger);
                    }
                    return finish_all(&mut recordings, behaviour);
                }
            },
            _ = terminate.recv() => return finish_all(&mut recordings, behaviour),
        }
    }
}

/// Shown as the streamer's SID, for the test to see.
fn show_token(token: &TokenReply) {
    let told = if token.access.is_some() {
        "fresh"
    } else {
        "none"
    };
    say(&WorkerMessage::Status(SessionStatus {
        state: SessionState::Live,
        room_name: "room".into(),
        participant_sid: Some(format!("{told} {}", token.request_id)),
        ..SessionStatus::default()
    }));
}

type Recordings = HashMap<i64, Recording>;

fn finish_all(recordings: &mut Recordings, behaviour: &str) -> EndReason {
    for (_, recording) in recordings.drain() {
        recording.finish(behaviour);
    }
    EndReason::Stopped
}

/// Writes what is due; says why the session ends, where it does.
fn grow_all(recordings: &mut Recordings, config: &SessionConfig) -> Option<EndReason> {
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

fn start_recording(
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

fn publish(hub: &Hub, frame: u64, width: u32) {
    hub.publish_video(VideoFrame {
        jpeg: Bytes::from(format!("jpeg {frame} of {}", std::process::id())),
        width,
        height: 2,
        seq: frame,
        ..VideoFrame::default()
    });
    hub.publish_audio(AudioChunk {
        pcm: Bytes::from(vec![0; 1764]),
        sample_rate: 44_100,
        channels: 1,
        ..AudioChunk::default()
    });
}

/// Pictures that are as wide as they may be.
fn show_smaller(config: &SessionConfig, width: u32) {
    let path = rendition_socket(&config.media_socket, width);
    if path.exists() {
        return;
    }
    let hub = Hub::new(HubOptions::default());
    serve_media(&path, hub.clone());
    tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(10));
        for frame in 1.. {
            tick.tick().await;
            publish(&hub, frame, width);
        }
    });
}

fn serve_media(path: &Path, hub: Hub) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hub = hub.clone();
            tokio::spawn(async move { relay(stream, &hub).await });
        }
    });
}

async fn relay(mut stream: UnixStream, hub: &Hub) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let key = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map(|(_, key)| derive_accept_key(key.trim().as_bytes()))
        .unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let options = ViewerOptions::default();
    serve_viewer(
        stream,
        hub,
        Protocol::Relay,
        &options,
        std::future::pending(),
    )
    .await;
}
