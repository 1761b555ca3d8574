//! The scripts in pipelines/launch, run against a real room.

use haven_e2e::shell::{
    Shell, check_media, free_port, interrupt, viewer_on, wait_until, wait_until_it_grows,
};
use haven_e2e::{Publishing, Result, Room, Stage};
use haven_rig::media::{decode_to_end, probe};
use haven_rig::{ClipSpec, Codec, Role, repository};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn script(name: &str) -> String {
    folder().join(name).display().to_string()
}

fn folder() -> PathBuf {
    repository().join("pipelines/launch")
}

fn shell_on(stage: &Stage) -> Result<Shell> {
    Shell::new(stage.pumpfun.environment())
}

/// Records with a script until there is enough, interrupts it, and checks the file.
async fn record(stage: &Stage, name: &str, file: &str, codecs: [Option<&str>; 2]) -> Result {
    let shell = shell_on(stage)?;
    let mut child = shell.program(script(name), [&*stage.mint, file])?;
    let done = async {
        wait_until_it_grows(&mut child, &shell.path(file)).await?;
        interrupt(child).await?;
        check_media(&shell.path(file), codecs[0], codecs[1]).await
    };
    let checked = done.await;
    checked.map_err(|error| format!("{name} {file}: {error}"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_shows_the_room() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let port = free_port()?;
    let shell = shell_on(&stage)?.with("PORT", port.to_string());
    let child = shell.program(script("watch.sh"), [&stage.mint])?;
    let mut viewer = viewer_on(port).await?;
    viewer
        .wait_until(LIMIT, |viewed| {
            viewed.counters().len() > 30 && viewed.sound.len() > 50
        })
        .await?;
    interrupt(child).await
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_play_to_their_end() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    // All at once: they don't disturb each other.
    tokio::try_join!(
        record(
            &stage,
            "record-h264.sh",
            "a.mp4",
            [Some("h264"), Some("aac")]
        ),
        record(
            &stage,
            "record-vp9.sh",
            "a.webm",
            [Some("vp9"), Some("opus")]
        ),
        record(&stage, "record-wav.sh", "a.wav", [None, Some("pcm_s16le")]),
        record(
            &stage,
            "record-source.sh",
            "a.mp4",
            [Some("h264"), Some("opus")]
        ),
        record(
            &stage,
            "record-source.sh",
            "a.mkv",
            [Some("h264"), Some("opus")]
        ),
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_av1_recording_plays_to_its_end() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    record(&stage, "record-av1.sh", "a.mp4", [Some("av1"), Some("aac")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_in_vp8_is_recorded_untouched_and_only_into_a_fitting_file() -> Result {
    let publishing = Publishing::Clip(ClipSpec::small(Codec::Vp8, 80));
    let stage = Stage::set(publishing).await?;
    let shell = shell_on(&stage)?;
    let wrong = [&*stage.mint, "a.mp4"];
    let refused = shell.output(script("record-source.sh"), wrong).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains(".webm"),
        "{said}"
    );
    assert!(!shell.path("a.mp4").exists());
    let codecs = [Some("vp8"), Some("opus")];
    record(&stage, "record-source.sh", "a.webm", codecs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_a_livekit_server_is_recorded_into_a_file_with_any_name() -> Result {
    let room = Room::open(&Publishing::small()).await?;
    let token = room.livekit.token(&room.name, "viewer", Role::Viewer)?;
    let shell = Shell::new(Vec::new())?.with("SIZE", "320x240");
    let file = r#"it's "my" room, 50% \o! .mp4"#;
    let arguments = [
        &*room.livekit.url(),
        file,
        &format!("token={token}"),
        "ice-addresses=127.0.0.1",
    ];
    let mut child = shell.program(script("record-h264.sh"), arguments)?;
    wait_until_it_grows(&mut child, &shell.path(file)).await?;
    interrupt(child).await?;
    let probed = check_media(&shell.path(file), Some("h264"), Some("aac")).await?;
    let video = probed.stream("video").ok_or("no video")?;
    assert_eq!((video.width, video.height), (320, 240));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_and_recording_share_a_decoder() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let port = free_port()?;
    let shell = shell_on(&stage)?.with("PORT", port.to_string());
    let file = "watched.mp4";
    let mut child = shell.program(script("watch-and-record.sh"), [&*stage.mint, file])?;
    let mut viewer = viewer_on(port).await?;
    viewer
        .wait_until(LIMIT, |viewed| {
            viewed.counters().len() > 30 && viewed.sound.len() > 50
        })
        .await?;
    wait_until_it_grows(&mut child, &shell.path(file)).await?;
    interrupt(child).await?;
    check_media(&shell.path(file), Some("h264"), Some("aac")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_is_written_in_segments_of_two_seconds_and_ends_with_the_script() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let shell = shell_on(&stage)?;
    let mut child = shell.program(script("hls.sh"), [&*stage.mint, "hls"])?;
    let playlist = shell.path("hls/stream.m3u8");
    let read = || fs::read_to_string(&playlist).unwrap_or_default();
    wait_until(&mut child, "three segments", || {
        read().matches("#EXTINF").count() >= 3
    })
    .await?;
    interrupt(child).await?;
    let written = read();
    assert!(written.trim_end().ends_with("#EXT-X-ENDLIST"), "{written}");
    let lengths: Vec<f64> = written
        .lines()
        .filter_map(|line| {
            line.strip_prefix("#EXTINF:")?
                .split(',')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    // The first one may begin between two key frames, the last one ends with the script.
    let whole = &lengths[1..lengths.len() - 1];
    assert!(
        whole.iter().all(|length| (length - 2.0).abs() < 0.5),
        "{written}"
    );
    check_media(&playlist, Some("h264"), Some("aac")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rtmp_server_receives_the_restream() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let shell = shell_on(&stage)?;
    let address = format!("rtmp://127.0.0.1:{}/live/key", free_port()?);
    let arguments = [
        "-loglevel",
        "error",
        "-listen",
        "1",
        "-i",
        &address,
        "-c",
        "copy",
        "-f",
        "matroska",
        "-flush_packets",
        "1",
        "received.mkv",
    ];
    let mut server = shell.program("ffmpeg", arguments)?;
    // The room is joined before the address is connected to: the receiver listens by then.
    let child = shell.program(script("restream.sh"), [&*stage.mint, &address])?;
    wait_until_it_grows(&mut server, &shell.path("received.mkv")).await?;
    interrupt(child).await?;
    let status = server.wait(LIMIT).await?;
    assert!(status.success(), "{status}");
    check_media(&shell.path("received.mkv"), Some("h264"), Some("aac")).await?;
    Ok(())
}

/// A shell for contact sheets of two columns, with a thumbnail each second.
fn shell_for_sheet(stage: &Stage, rows: &str) -> Result<Shell> {
    let shell = shell_on(stage)?;
    let temporary = shell.path("temporary");
    fs::create_dir(&temporary)?;
    Ok(shell
        .with("EVERY", "1")
        .with("COLUMNS", "2")
        .with("WIDTH", "160")
        .with("ROWS", rows)
        .with("TMPDIR", temporary.display().to_string()))
}

async fn check_sheet(shell: &Shell, height: impl Fn(u32) -> bool) -> Result {
    let file = shell.path("sheet.jpg");
    let probed = probe(&file).await?;
    let sheet = probed.stream("video").ok_or("no picture")?;
    assert!(sheet.width == 320 && height(sheet.height), "{probed:?}");
    decode_to_end(&file).await?;
    // What was needed on the way is gone.
    assert_eq!(fs::read_dir(shell.path("temporary"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_sheet_has_its_thumbnails_in_columns_and_rows() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let shell = shell_for_sheet(&stage, "2")?;
    let mut child = shell.program(script("contact-sheet.sh"), [&*stage.mint, "sheet.jpg"])?;
    assert!(child.wait(LIMIT).await?.success());
    check_sheet(&shell, |height| height == 180).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_contact_sheet_has_what_was_taken_until_then() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let shell = shell_for_sheet(&stage, "100")?;
    let mut child = shell.program(script("contact-sheet.sh"), [&*stage.mint, "sheet.jpg"])?;
    let taken = || {
        let folders = fs::read_dir(shell.path("temporary")).into_iter().flatten();
        let files = folders.flatten().map(|folder| fs::read_dir(folder.path()));
        files.flatten().map(Iterator::count).sum::<usize>()
    };
    wait_until(&mut child, "two thumbnails", || taken() >= 3).await?;
    interrupt(child).await?;
    check_sheet(&shell, |height| (90..900).contains(&height)).await
}

#[tokio::test]
async fn wrong_arguments_are_explained() -> Result {
    let shell = Shell::new(Vec::new())?;
    fs::write(shell.path("there.mp4"), "")?;
    let mint = "7EivWdVUdj1bVGwjyjHEPhuRJrJ2tBzAdYsEL5npump";
    for (name, arguments, word) in [
        ("watch.sh", &[][..], "WHERE is missing"),
        ("watch.sh", &["not a mint"], "neither a mint"),
        ("watch.sh", &[mint, "latency"], "PROPERTY=VALUE"),
        ("record-h264.sh", &[mint], "FILE.mp4 is missing"),
        ("record-h264.sh", &[mint, "there.mp4"], "exists already"),
        (
            "record-h264.sh",
            &[mint, "no/where.mp4"],
            "folder no is missing",
        ),
        ("restream.sh", &[mint, "http://x/y"], "no rtmp://"),
    ] {
        let output = shell.output(script(name), arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(word),
            "{name}: {said}"
        );
    }
    assert_eq!(fs::metadata(shell.path("there.mp4"))?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn each_script_explains_itself_and_is_sound_shell() -> Result {
    let shell = Shell::new(Vec::new())?;
    let mut scripts = 0;
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        let arguments = ["-x", "-P", "SCRIPTDIR", &path.display().to_string()].map(String::from);
        let checked = shell.output("shellcheck", arguments).await?;
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "{said}");
        if path.ends_with("lib.sh") {
            continue;
        }
        scripts += 1;
        let name = path
            .file_name()
            .ok_or("no name")?
            .to_string_lossy()
            .into_owned();
        let help = shell.output(&path, ["--help"]).await?;
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success(), "{name}");
        for part in [
            &*format!("pipelines/launch/{name} WHERE"),
            "Ctrl-C",
            "PROPERTY=VALUE",
        ] {
            assert!(text.contains(part), "{name} --help lacks {part:?}: {text}");
        }
    }
    assert!(scripts >= 10, "{scripts} scripts");
    Ok(())
}
