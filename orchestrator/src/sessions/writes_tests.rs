//! What waits for the database, on a clock that needs no waiting.

use super::*;
use crate::{
    db::{NewRecording, NewSession, SessionKind},
    events::Events,
    limits::Limits,
    recordings::Part,
    worker::{Timings, Workers},
};

fn row(number: u32, reason: Option<&str>) -> FileRow {
    Part::new(number, format!("/r/{number}.mp4").into(), 1).row(reason)
}

#[test]
fn of_each_file_only_the_newest_state_waits() {
    let mut waiting = Waiting::default();
    waiting.add(Write::Part(1, row(1, None)));
    waiting.add(Write::RecordingWanted(1, false));
    waiting.add(Write::Part(1, row(2, None)));
    waiting.add(Write::Part(2, row(1, None)));
    waiting.add(Write::Part(1, row(1, Some("stopped"))));
    waiting.add(Write::RecordingWanted(1, true));
    waiting.add(Write::PartForgotten(1, 2));
    let left: Vec<_> = waiting.writes.into_iter().map(|(_, write)| write).collect();
    let expected = [
        Write::Part(2, row(1, None)),
        Write::Part(1, row(1, Some("stopped"))),
        Write::RecordingWanted(1, true),
        Write::PartForgotten(1, 2),
    ];
    assert_eq!(left, expected);
}

#[test]
fn what_waits_has_a_limit() {
    let mut waiting = Waiting::default();
    for id in 0..=10_000 {
        waiting.add(Write::SessionGivenUp(id));
    }
    assert_eq!(waiting.writes.len(), MOST);
    assert_eq!(waiting.writes[0].1, Write::SessionGivenUp(1));
}

/// A writer, and two recordings of one session.
async fn writer() -> (Writer, Db, TaskTracker) {
    let (db, tasks) = (Db::in_memory(), TaskTracker::new());
    let workers = Workers::new(
        "x".into(),
        None,
        Timings::default(),
        Limits::default(),
        tasks.clone(),
    );
    let archive = Archive::new(
        db.clone(),
        Arc::new(workers),
        Events::new(),
        Arc::new(Default::default),
        "/nowhere".into(),
    );
    let session = NewSession {
        key: "demo".into(),
        kind: SessionKind::Demo,
        started_at_ms: 1,
    };
    let session_id = db.insert_session(session).await.unwrap();
    for path in ["/r/1.mp4", "/r/other.mp4"] {
        let new = NewRecording {
            session_id,
            key: "demo".into(),
            format: "h264".into(),
            config: "{}".into(),
            settings: "{}".into(),
            started_at_ms: 2,
            path: path.into(),
        };
        db.insert_recording(new).await.unwrap();
    }
    (Writer::new(db.clone(), archive, tasks.clone()), db, tasks)
}

fn joined() -> Write {
    Write::SessionJoined {
        id: 1,
        room_name: "room".into(),
        stream_info: "{}".into(),
    }
}

async fn until_stored(writer: &Writer) {
    let mut left = writer.0.left.subscribe();
    left.wait_for(|left| *left == 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_stopped_while_nothing_can_be_stored_does_not_come_back() {
    let (writer, db, tasks) = writer().await;
    writer.write(joined()).await;
    assert_eq!(db.wanted_sessions().await.unwrap().len(), 1);
    db.make_read_only().await;
    writer.write(Write::SessionGivenUp(1)).await;
    let ended = Write::SessionEnded {
        id: 1,
        at_ms: 5,
        reason: "stopped".into(),
    };
    writer.write(ended).await;
    assert_eq!(*writer.0.left.borrow(), 2);
    // Who wrote it is gone by now.
    db.make_writable().await;
    until_stored(&writer).await;
    assert!(db.wanted_sessions().await.unwrap().is_empty());
    // The task that tried has ended.
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_stored_holds_nothing_up() {
    let (writer, db, _) = writer().await;
    db.make_read_only().await;
    // The path is another recording's.
    let mut wrong = row(2, None);
    wrong.path = "/r/other.mp4".into();
    writer.write(Write::Part(1, wrong.clone())).await;
    writer.write(Write::Part(1, row(1, Some("stopped")))).await;
    db.make_writable().await;
    until_stored(&writer).await;
    let stored = db.recording(1).await.unwrap().unwrap();
    assert_eq!(stored.files, [row(1, Some("stopped"))]);
    writer.write(Write::Part(1, wrong)).await;
    assert_eq!(*writer.0.left.borrow(), 0, "nor does it wait");
}

#[tokio::test]
async fn at_the_servers_end_what_waits_is_tried_once_more_and_then_given_up() {
    let (writer, db, tasks) = writer().await;
    db.make_read_only().await;
    writer.write(joined()).await;
    db.make_writable().await;
    writer.drain(Duration::from_secs(60)).await;
    assert_eq!(db.wanted_sessions().await.unwrap().len(), 1);

    let (stuck, db, others) = self::writer().await;
    db.make_read_only().await;
    stuck.write(joined()).await;
    stuck.drain(Duration::from_millis(50)).await;
    for tasks in [tasks, others] {
        tasks.close();
        tasks.wait().await;
    }
}

#[tokio::test]
async fn of_each_key_the_newest_session_alone_is_taken_up() {
    let (writer, db, _) = writer().await;
    writer.write(joined()).await;
    let next = NewSession {
        key: "demo".into(),
        kind: SessionKind::Demo,
        started_at_ms: 9,
    };
    // That the first one has ended was never stored.
    let id = db.insert_session(next).await.unwrap();
    assert!(db.wanted_sessions().await.unwrap().is_empty());
    let info = "{}".to_owned();
    db.session_joined(id, "room".into(), info).await.unwrap();
    let wanted = db.wanted_sessions().await.unwrap();
    assert_eq!((wanted.len(), wanted[0].id), (1, id));
}
