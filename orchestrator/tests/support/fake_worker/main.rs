//! A worker without GStreamer: speaks the protocol, serves invented frames, and misbehaves as the
//! session's key tells it to (`never-ready`, `no-join`, `refused`, `no-server`, `crash-at-start`,
//! `stubborn`, `slow-join`, `slow-finish`, `deleted`, `bad-recording`, `token`, `crash-loop`, `outage`,
//! `wandering`, `roaming`, `gappy`, `closed`, `deserted`, `banned`, `breaks`, `hollow`, `orphan`,
//! `stubborn-file`, `faulty`, `barren`, `speechless`, `mute`, `dries-up`, `idle`, `hungry`, …). A
//! "recording" is a file that grows by one byte each 10 ms; `--measure` takes its size for its
//! length, `--join` strings files together, unless `unfit` is in their names. What keeps the
//! publisher's encoding becomes a webm file, and is split as it is asked for.

#![allow(clippy::unwrap_used, reason = "a part of the tests")]

mod behaviour;
mod media;
mod recording;
mod tools;

use behaviour::{is_dry, is_replacement, join, wander};
use haven_wire::{
    EndReason, LineReader, ServerMessage, SessionConfig, SessionState, SessionStatus, TokenReply,
    WorkerMessage, encode_line,
};
use media::{publish, serve_media, show_smaller};
use recording::{
    Recording, Recordings, fail, finish_all, grow_all, start_recording, stop_recording,
};
use std::{io::Write, os::fd::AsFd, path::Path, time::Duration};
use tokio::{net::unix::pipe, time::interval};
use tools::{costs, measure, probe, unfit, until_released};
use viewer_socket::{Hub, HubOptions};

/// A coin whose worker asks for a token, and that is over by then.
const OVER: &str = "4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R";

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

pub(crate) fn say(message: &WorkerMessage) {
    let mut out = std::io::stdout();
    // The server may be gone; its end is noticed at the input.
    let _ = out.write_all(&encode_line(message).unwrap());
    let _ = out.flush();
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
