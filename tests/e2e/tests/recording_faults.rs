//! Recordings outlive what befalls them: each file plays, the gaps that are listed are those that there
//! were, no picture is missing elsewhere, and the server knows exactly what is in the folder.

use haven_e2e::scene::{
    CUT_OFF_S, Done, KEY_FRAME_S, SEEN_LATE_S, Scene, away, calm, gaps_are, half, large,
    nothing_else_is_lost, now_s, tolerance_s,
};
use haven_e2e::{Haven, Publishing, Recorded, Result, SmallDisk, is_long_form, library_agrees};
use haven_rig::{Clip, ClipSpec, TrackKind, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn kill(pid: u32) -> Result {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or("no process")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

async fn gone(pids: &[u32]) -> Result {
    let runs = |pid: &u32| Path::new(&format!("/proc/{pid}/exe")).exists();
    within("the workers' end", LIMIT, async {
        while pids.iter().any(runs) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_leaves_mutes_and_turns_leaves_its_gaps_alone() -> Result {
    let mut scene = Scene::begin(Vec::new()).await?;
    let left_s = now_s();
    scene.stage.end_publisher().await?;
    tokio::time::sleep(away()).await;
    scene.stage.publish(&Publishing::Clip(large())).await?;
    let absence = Done::since(left_s);
    scene.until_live().await?;
    tokio::time::sleep(calm()).await;

    let publisher = scene.stage.publisher();
    let muted_s = now_s();
    publisher.mute(TrackKind::Video).await?;
    tokio::time::sleep(away()).await;
    publisher.unmute(TrackKind::Video).await?;
    let muted = Done::since(muted_s);
    tokio::time::sleep(calm()).await;

    for spec in [half(), large()] {
        let clip = Clip::get(spec).await?;
        scene.stage.publisher().change_clip(&clip).await?;
        tokio::time::sleep(calm()).await;
    }
    let all = scene.end().await?;
    for recorded in &all {
        gaps_are(recorded, &[absence, muted]);
        nothing_else_is_lost(recorded, 2)?;
    }
    let kinds = |recorded: &Recorded| {
        let parts = recorded.parts.iter();
        parts.map(|part| part.kind.clone()).collect::<Vec<_>>()
    };
    let of = |spec: ClipSpec| ("h264".to_owned(), spec.width, spec.height);
    // What is encoded keeps its size; as it was published each size has its file.
    assert_eq!(kinds(&all[0]), [of(large()), of(half()), of(large())]);
    assert_eq!(
        all[0].reasons(),
        ["source_changed", "source_changed", "stopped"]
    );
    assert_eq!(kinds(&all[1]), [of(large())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_livekit_server_that_dies_and_returns_leaves_one_gap() -> Result {
    let mut scene = Scene::begin(Vec::new()).await?;
    let killed_s = now_s();
    scene.stage.livekit.kill().await?;
    tokio::time::sleep(away()).await;
    scene.stage.livekit.restart().await?;
    scene.stage.publish(&Publishing::Clip(large())).await?;
    let absence = Done {
        // The room is found again with a pause that grows with each attempt.
        lost_after_s: 3.0 + KEY_FRAME_S,
        ..Done::since(killed_s)
    };
    scene.until_live().await?;
    tokio::time::sleep(calm()).await;
    for recorded in scene.end().await? {
        gaps_are(&recorded, &[absence]);
        nothing_else_is_lost(&recorded, 2)?;
        assert_eq!(recorded.reasons(), ["stopped"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_servers_that_die_or_end_leave_one_gap_each() -> Result {
    let mut scene = Scene::begin(Vec::new()).await?;
    let pids = |haven: &Haven| -> Result<Vec<u32>> {
        Ok(haven.workers()?.iter().map(|worker| worker.pid).collect())
    };
    let mut done = Vec::new();
    let worker = pids(scene.haven())?;
    assert_eq!(worker.len(), 1, "{worker:?}");
    let from_s = now_s();
    kill(worker[0])?;
    scene.until_part(2).await?;
    done.push(Done {
        lost_before_s: CUT_OFF_S,
        seen_late_s: SEEN_LATE_S,
        ..Done::since(from_s)
    });
    tokio::time::sleep(calm()).await;

    for signal in [Signal::KILL, Signal::TERM] {
        let workers = pids(scene.haven())?;
        let from_s = now_s();
        scene.stage.haven.end_with(signal).await?;
        gone(&workers).await?;
        tokio::time::sleep(calm()).await;
        scene.stage.haven.start_again().await?;
        scene.until_part(done.len() + 2).await?;
        done.push(Done {
            seen_late_s: SEEN_LATE_S,
            ..Done::since(from_s)
        });
        tokio::time::sleep(calm()).await;
    }
    let all = scene.end().await?;
    for recorded in &all {
        gaps_are(recorded, &done);
        nothing_else_is_lost(recorded, 1)?;
        let reasons = ["worker_crashed", "server_died", "shutdown", "stopped"];
        assert_eq!(recorded.reasons(), reasons);
        let participants = &recorded.description()?["participants"];
        let tracks = json!([
            {"kind": "audio", "source": "microphone"},
            {"kind": "video", "source": "camera"},
        ]);
        let streamer = json!([{"identity": "streamer", "name": "streamer", "tracks": tracks}]);
        assert_eq!(*participants, streamer);
    }
    Ok(())
}

/// Space that others may take from the disk without a recording noticing it.
const MARGIN_BYTES: u64 = 32 << 20;

/// A scene on a disk of which so much is to stay free.
async fn scene_on(disk: &SmallDisk, reserve_bytes: u64) -> Result<Scene> {
    let folder = disk.recordings().display().to_string();
    let variables = [
        ("HAVEN_RECORDING_DIR", folder),
        ("HAVEN_DISK_RESERVE_BYTES", reserve_bytes.to_string()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Scene::begin(variables.into()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_disk_is_full_recordings_are_complete_and_space_lets_them_begin_again() -> Result
{
    let disk = SmallDisk::new(3 * MARGIN_BYTES)?;
    let scene = scene_on(&disk, disk.free()? - MARGIN_BYTES).await?;
    let filled_s = now_s();
    disk.fill(MARGIN_BYTES + (1 << 20))?;
    let mut all = scene.until_ended().await?;
    for recorded in &all {
        nothing_else_is_lost(recorded, 1)?;
        assert_eq!(recorded.reasons(), ["disk_full"]);
        assert_eq!(recorded.pauses, []);
        let end_s = recorded.parts[0].begin_s + recorded.played_s();
        assert!(end_s > filled_s - tolerance_s(), "{end_s} {filled_s}");
    }
    // The session goes on, and there is no space for more.
    scene.until_live().await?;
    let request = json!({"mint_id": scene.stage.mint, "output_format": "source"});
    let start = || scene.haven().post("/api/recording/start", &request);
    assert_eq!(start().await?.status, 507);
    disk.give_back()?;
    start().await?.expect_ok()?;
    tokio::time::sleep(calm()).await;
    let stopped = scene.haven().post("/api/recording/stop", &request).await?;
    all.push(Recorded::play(&stopped.expect_ok()?).await?);
    assert_eq!(all[2].reasons(), ["stopped"]);
    library_agrees(scene.haven(), &disk.recordings(), &all).await
}

/// The reserve is what keeps this from happening; without one a recording ends with its last whole
/// second. Only in the long form: it needs a disk of its own, and the right to mount one.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_is_full_each_file_plays_as_far_as_there_was_space() -> Result {
    if !is_long_form() {
        return Ok(());
    }
    let disk = SmallDisk::new(MARGIN_BYTES)?;
    assert!(disk.is_its_own(), "to be run as root");
    let scene = scene_on(&disk, 0).await?;
    disk.fill(disk.free()? - (1 << 20))?;
    let filled_s = now_s();
    let all = scene.until_ended().await?;
    for recorded in &all {
        nothing_else_is_lost(recorded, 1)?;
        assert_eq!(recorded.reasons(), ["disk_full"]);
        let end_s = recorded.parts[0].begin_s + recorded.played_s();
        assert!(end_s > filled_s - CUT_OFF_S, "{end_s} {filled_s}");
    }
    disk.give_back()?;
    // The descriptions are written once there is space.
    within("the descriptions", LIMIT, async {
        while library_agrees(scene.haven(), &disk.recordings(), &all)
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await?;
    Ok(())
}
