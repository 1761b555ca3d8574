//! Kills and signals: what goes on, what is finished, and that nothing is left behind.

use haven_e2e::{Haven, Publishing, Result, Stage};
use haven_rig::media::{decode_to_end, probe};
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

fn kill(pid: u32) -> Result {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or("no process")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

async fn start_recording(haven: &Haven, key: &str) -> Result<PathBuf> {
    let request = json!({"mint_id": key, "output_format": "h264"});
    let answer = haven
        .post("/api/recording/start", &request)
        .await?
        .expect_ok()?;
    Ok(answer["output_path"]
        .as_str()
        .ok_or("no output_path")?
        .into())
}

async fn wait_for_length(haven: &Haven, key: &str, seconds: f64) -> Result<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = haven
            .get(&format!("/api/recording/status/{key}"))
            .await?
            .expect_ok()?;
        if status["duration_s"]
            .as_f64()
            .is_some_and(|so_far| so_far >= seconds)
        {
            return Ok(status);
        }
        if Instant::now() > deadline {
            return Err(format!("the recording is {status}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn plays(file: &Path, at_least_s: f64) -> Result<f64> {
    let probed = probe(file).await?;
    assert!(probed.duration_s >= at_least_s, "{probed:?}");
    assert_eq!(probed.streams.len(), 2, "{probed:?}");
    decode_to_end(file).await?;
    Ok(probed.duration_s)
}

/// What the server says of a recording that has ended, once it says that.
async fn last_recording(haven: &Haven, key: &str) -> Result<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = haven
            .post("/api/recording/stop", &json!({"mint_id": key}))
            .await?;
        if answer.status == 200 && !answer.body["end_reason"].is_null() {
            return Ok(answer.body);
        }
        if Instant::now() > deadline {
            return Err(format!("the recording is {answer:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until none of these processes runs.
async fn all_gone(pids: &[u32]) -> Result {
    let running = || {
        pids.iter()
            .any(|pid| Path::new(&format!("/proc/{pid}/exe")).exists())
    };
    within("the workers' end", LIMIT, async {
        while running() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await?;
    Ok(())
}

/// Only recordings and their descriptions are left in the data folder.
fn only_recordings_left(haven: &Haven) -> Result {
    let is_recordings = |file: &PathBuf| {
        let kind = file.extension();
        kind.is_some_and(|kind| kind == "mp4" || kind == "json")
    };
    let left: Vec<_> = haven
        .files()?
        .into_iter()
        .filter(|file| !is_recordings(file))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_replaced_viewers_see_it_go_on_and_the_recording_plays() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let haven = &stage.haven;
    haven.start_session(&stage.mint).await?;
    let mut viewer = Viewer::connect(&haven.url, Protocol::Json, &stage.mint).await?;
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > 10)
        .await?;
    let file = start_recording(haven, &stage.mint).await?;
    wait_for_length(haven, &stage.mint, 4.0).await?;

    let workers = haven.workers()?;
    assert_eq!(workers.len(), 1, "{workers:?}");
    let killed = Instant::now();
    kill(workers[0].pid)?;
    let seen = viewer.look(|viewed| viewed.frames.len());
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > seen + 30)
        .await?;
    println!("a second of frames {:.1?} after the kill", killed.elapsed());
    viewer.look(|viewed| {
        assert!(
            viewed
                .statuses
                .iter()
                .any(|status| status["state"] == "reconnecting")
        )
    });
    plays(&file, 2.0).await?;
    haven
        .post("/api/recording/stop", &json!({"mint_id": stage.mint}))
        .await?
        .expect_ok()?;
    let participants = stage
        .livekit
        .room_service()
        .participants(&stage.room)
        .await?;
    println!("participants after the restart: {participants:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_servers_workers_finalise_and_the_next_start_goes_on() -> Result {
    let mut stage = Stage::set(Publishing::small()).await?;
    let before = stage.haven.start_session(&stage.mint).await?;
    let first = start_recording(&stage.haven, &stage.mint).await?;
    wait_for_length(&stage.haven, &stage.mint, 4.0).await?;
    let workers = stage.haven.workers()?;
    assert_eq!(workers.len(), 1, "{workers:?}");
    kill(stage.haven.pid())?;
    all_gone(&workers.iter().map(|worker| worker.pid).collect::<Vec<_>>()).await?;
    let kept_s = plays(&first, 4.0).await?;

    stage.haven.start_again().await?;
    wait_for_length(&stage.haven, &stage.mint, kept_s + 3.0).await?;
    let sessions = stage
        .haven
        .get("/api/live-sessions/active")
        .await?
        .expect_ok()?;
    let after = &sessions["sessions"][&stage.mint];
    assert_eq!(after["session_id"], before["session_id"], "{sessions}");
    let ended = last_recording(&stage.haven, &stage.mint).await?;
    let parts = ended["parts"].as_array().ok_or("no parts")?;
    assert_eq!(parts.len(), 2, "{ended}");
    assert_eq!(parts[0]["reason"], "server_died", "{ended}");
    // The pause, and with it what the second file has waited for.
    let gaps = ended["gaps"].as_array().ok_or("no gaps")?;
    let kept = &parts[0]["duration_s"];
    let is_between = |gap: &Value| gap["at_s"] == *kept;
    assert!(
        (1..=2).contains(&gaps.len()) && gaps.iter().all(is_between),
        "{ended}"
    );
    let mut played_s = 0.0;
    for part in parts {
        let path = part["path"].as_str().ok_or("no path")?;
        played_s += plays(Path::new(path), 2.0).await?;
    }
    let known_s = ended["duration_s"].as_f64().unwrap_or_default();
    assert!((known_s - played_s).abs() < 0.1, "{known_s} {played_s}");
    println!("{kept_s} s were kept, {played_s} s in all");
    stage.haven.end_with(Signal::TERM).await?;
    only_recordings_left(&stage.haven)
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_stop_leave_no_process_no_socket_and_whole_files() -> Result {
    for signal in [Signal::INT, Signal::TERM] {
        let mut stage = Stage::set(Publishing::small()).await?;
        stage.haven.start_session(&stage.mint).await?;
        stage.haven.start_session("demo").await?;
        let mut viewer = Viewer::connect(&stage.haven.url, Protocol::Binary, &stage.mint).await?;
        viewer
            .wait_until(LIMIT, |viewed| viewed.frames.len() > 5)
            .await?;
        let files = [
            start_recording(&stage.haven, &stage.mint).await?,
            start_recording(&stage.haven, "demo").await?,
        ];
        for key in [stage.mint.as_str(), "demo"] {
            wait_for_length(&stage.haven, key, 2.0).await?;
        }
        let workers: Vec<u32> = stage
            .haven
            .workers()?
            .iter()
            .map(|worker| worker.pid)
            .collect();
        assert_eq!(workers.len(), 2);
        let status = stage.haven.end_with(signal).await?;
        assert!(status.success(), "{status}");
        all_gone(&workers).await?;
        for file in &files {
            plays(file, 2.0).await?;
        }
        viewer
            .wait_until(LIMIT, |viewed| viewed.close.is_some())
            .await
            .ok();
        assert_eq!(viewer.close().await.close.map(|(code, _)| code), Some(1001));
        only_recordings_left(&stage.haven)?;
        let room = stage.livekit.room_service();
        room.wait_until(&stage.room, LIMIT, |participants| participants.len() == 1)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_the_session_and_asking_twice_is_no_error() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let haven = &stage.haven;
    haven.start_session(&stage.mint).await?;
    let mut viewer = Viewer::connect(&haven.url, Protocol::Binary, &stage.mint).await?;
    viewer
        .wait_until(LIMIT, |viewed| !viewed.frames.is_empty())
        .await?;
    let request = json!({"mint_id": stage.mint});
    let answer = haven
        .post("/api/live-sessions/stop", &request)
        .await?
        .expect_ok()?;
    assert_eq!(answer["success"], true);
    viewer
        .wait_until(LIMIT, |viewed| viewed.close.is_some())
        .await
        .ok();
    assert_eq!(viewer.close().await.close.map(|(code, _)| code), Some(1000));
    let again = haven
        .post("/api/live-sessions/stop", &request)
        .await?
        .expect_ok()?;
    assert_eq!(again["already_stopped"], true);
    assert!(haven.workers()?.is_empty());
    let late = Viewer::connect(&haven.url, Protocol::Binary, &stage.mint).await?;
    assert_eq!(late.close().await.close.map(|(code, _)| code), Some(4404));
    Ok(())
}
