mod inbox;
mod participants;
mod python;

pub use participants::{ClipParticipant, LiveOptions, PublisherEvent, TrackKind};

use crate::{
    clip::Clip,
    error::{Result, RigError},
    paths,
    process::{self, Child},
};
use inbox::{Inbox, Taken};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, Command},
};

/// How long joining and publishing may take; a loaded machine may need many seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a publisher has to leave.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A publisher reports once a second; longer silence than this means that it is stuck.
const WATCH_LIMIT: Duration = Duration::from_secs(60);
/// Answers to commands come within this.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// A publisher process. Dropping it kills the process; [`stop`](Self::stop) lets it leave the room.
#[derive(Debug)]
pub struct Publisher {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Inbox,
    log: tempfile::NamedTempFile,
}

impl Publisher {
    /// Publishes a pre-encoded clip as each of `participants`, in whichever rooms their tokens are for,
    /// and waits until all of them send. Costs a few percent of a core for each.
    ///
    /// # Errors
    /// When Go is missing, or a participant can't join or publish.
    pub async fn clip(
        url: &str,
        clip: &Clip,
        participants: &[ClipParticipant],
        repeat: bool,
    ) -> Result<Self> {
        let binary = paths::go_program("publisher", ".").await?;
        let spec = clip.spec;
        let all: Vec<Value> = participants
            .iter()
            .map(|one| {
                let video = json!({ "path": clip.video, "fps": spec.fps, "width": spec.width, "height": spec.height });
                let audio = json!({ "path": one.voice.as_ref().unwrap_or(&clip.audio) });
                json!({
                    "identity": one.identity,
                    "token": one.token,
                    "video": if one.video { video } else { Value::Null },
                    "audio": if one.audio { audio } else { Value::Null },
                })
            })
            .collect();
        let config = json!({ "url": url, "loop": repeat, "participants": all });
        Self::start(Command::new(binary), &config, participants.len()).await
    }

    /// Publishes a picture and a sound made live, through the LiveKit SDK's own encoders, and waits until
    /// it sends.
    ///
    /// # Errors
    /// When Python is missing, its packages can't be installed, or it can't join or publish.
    pub async fn live(
        url: &str,
        identity: &str,
        token: &str,
        options: &LiveOptions,
    ) -> Result<Self> {
        let python = python::environment().await?;
        let mut command = Command::new(python);
        command
            .arg("-u")
            .arg(paths::repository().join("tests/rig/python/publisher.py"));
        let config = json!({
            "url": url, "token": token, "identity": identity,
            "codec": options.codec, "simulcast": options.simulcast, "scalability": options.scalability,
            "dynacast": options.simulcast, "bitrate": options.video_kbps * 1000,
            "width": options.width, "height": options.height, "fps": options.fps,
            "video": options.video, "audio": options.audio,
        });
        Self::start(command, &config, 1).await
    }

    async fn start(mut command: Command, config: &Value, participants: usize) -> Result<Self> {
        let log = tempfile::NamedTempFile::new().map_err(RigError::io("making a log file"))?;
        let stderr = log.reopen().map_err(RigError::io("opening a log file"))?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = Child::spawn("the publisher", command)?;
        let no_pipe = || RigError::unexpected("starting the publisher", "it has no pipes");
        let stdout = child.take_stdout().ok_or_else(no_pipe)?;
        let mut publisher = Self {
            stdin: Some(child.take_stdin().ok_or_else(no_pipe)?),
            child,
            events: Inbox::reading(stdout),
            log,
        };
        publisher.write_line(config).await?;
        let mut started = 0;
        while started < participants {
            publisher
                .take(START_LIMIT, |event| event.event == "started")
                .await?;
            started += 1;
        }
        Ok(publisher)
    }

    /// Waits for the next event that `wanted` accepts, among those not yet taken. Others stay for later.
    ///
    /// # Errors
    /// [`RigError::TimedOut`]; [`RigError::Unexpected`] when the publisher ended or reported a failure.
    pub async fn take(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&PublisherEvent) -> bool,
    ) -> Result<PublisherEvent> {
        let Ok(taken) = tokio::time::timeout(limit, self.events.take(wanted)).await else {
            return Err(RigError::TimedOut {
                what: "waiting for the publisher".into(),
                limit,
                detail: self.complaint(),
            });
        };
        match taken {
            Taken::Event(event) => Ok(*event),
            Taken::Failure(event) => Err(RigError::unexpected(
                "the publisher reported",
                format!("{event:?}"),
            )),
            Taken::Ended => Err(RigError::unexpected(
                "the publisher ended",
                self.complaint(),
            )),
        }
    }

    /// Reads and forgets what the publisher reports until it fails or ends, and returns how.
    pub async fn watch(&mut self) -> RigError {
        loop {
            let ended = |event: &PublisherEvent| {
                matches!(&*event.event, "progress" | "finished" | "disconnected")
            };
            match self.take(WATCH_LIMIT, ended).await {
                Ok(event) if event.event == "progress" => {
                    let is_end = |event: &PublisherEvent| {
                        matches!(
                            &*event.event,
                            "finished" | "disconnected" | "failed" | "error"
                        )
                    };
                    self.events.retain(is_end);
                }
                Ok(event) => return RigError::unexpected("the publisher left", event.message),
                Err(error) => return error,
            }
        }
    }

    /// Mutes a track of every participant ([`command`](Self::command) can do it for one).
    ///
    /// # Errors
    /// When it can't, or doesn't answer.
    pub async fn mute(&mut self, kind: TrackKind) -> Result<()> {
        self.command_kind("mute", kind, "muted").await.map(drop)
    }

    /// Unmutes a track.
    ///
    /// # Errors
    /// When it can't, or doesn't answer.
    pub async fn unmute(&mut self, kind: TrackKind) -> Result<()> {
        self.command_kind("unmute", kind, "unmuted").await.map(drop)
    }

    /// Takes a track out of the room.
    ///
    /// # Errors
    /// When it isn't published, or the publisher doesn't answer.
    pub async fn unpublish(&mut self, kind: TrackKind) -> Result<()> {
        self.command_kind("unpublish", kind, "unpublished")
            .await
            .map(drop)
    }

    /// Publishes a track anew, taking it out first if it is there; returns the new SID.
    ///
    /// # Errors
    /// When it can't, or doesn't answer.
    pub async fn republish(&mut self, kind: TrackKind) -> Result<String> {
        self.events.retain(|event| event.event != "published");
        let event = self.command_kind("republish", kind, "published").await?;
        Ok(event.track_sid)
    }

    /// Publishes the picture anew as that of the screen, in place of the camera's (publisher of clips
    /// only).
    ///
    /// # Errors
    /// When it can't, or doesn't answer.
    pub async fn share_screen(&mut self) -> Result<()> {
        self.events.retain(|event| event.event != "published");
        self.command(&json!({ "command": "republish", "kind": "video", "source": "screen_share" }))
            .await?;
        self.take(COMMAND_LIMIT, |event| event.event == "published")
            .await
            .map(drop)
    }

    /// Publishes the video anew in another codec (live publisher only).
    ///
    /// # Errors
    /// When it can't, or doesn't answer.
    pub async fn change_codec(&mut self, codec: &str) -> Result<()> {
        self.command(&json!({ "command": "codec", "codec": codec }))
            .await?;
        self.take(COMMAND_LIMIT, |event| event.event == "changed")
            .await
            .map(drop)
    }

    /// Goes on in another size, as a phone that is turned does (live publisher only).
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn change_size(&mut self, width: u32, height: u32) -> Result<()> {
        self.command(&json!({ "command": "size", "width": width, "height": height }))
            .await?;
        self.take(COMMAND_LIMIT, |event| event.event == "changed")
            .await
            .map(drop)
    }

    /// Goes on with another clip of the same codec and length from the next key frame on, as a phone that
    /// is turned does: the track and the numbers in the pictures go on (publisher of clips only).
    ///
    /// # Errors
    /// When the clips don't fit together, or it doesn't answer.
    pub async fn change_clip(&mut self, clip: &Clip) -> Result<()> {
        self.command(&json!({ "command": "clip", "kind": "video", "path": clip.video }))
            .await?;
        self.take(COMMAND_LIMIT, |event| event.event == "changed")
            .await
            .map(drop)
    }

    /// Sends any command, for example with an `identity` of several.
    ///
    /// # Errors
    /// When the publisher is gone.
    pub async fn command(&mut self, command: &Value) -> Result<()> {
        self.write_line(command).await
    }

    /// Kills the publisher without a word to the server, as a crash would.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.map(drop)
    }

    /// Lets everybody leave, and returns what each had sent by then.
    ///
    /// # Errors
    /// When the publisher failed, with what it said.
    pub async fn stop(mut self) -> Result<Vec<PublisherEvent>> {
        // The end of its input tells it to leave. It may be gone already, having ended by itself.
        drop(self.stdin.take());
        let mut finished: Vec<PublisherEvent> = Vec::new();
        while let Ok(event) = self
            .take(STOP_GRACE, |event| event.event == "finished")
            .await
        {
            finished.push(event);
        }
        let status = self.child.stop(STOP_GRACE).await?;
        if status.success() {
            return Ok(finished);
        }
        Err(RigError::Failed {
            program: "the publisher".into(),
            status,
            stderr: self.complaint(),
        })
    }

    async fn command_kind(
        &mut self,
        name: &str,
        kind: TrackKind,
        answer: &str,
    ) -> Result<PublisherEvent> {
        let kind = kind.name();
        self.command(&json!({ "command": name, "kind": kind }))
            .await?;
        self.take(COMMAND_LIMIT, |event| {
            event.event == answer && event.kind == kind
        })
        .await
    }

    async fn write_line(&mut self, line: &Value) -> Result<()> {
        let Some(stdin) = &mut self.stdin else {
            return Err(RigError::unexpected(
                "writing to the publisher",
                "it was told to stop",
            ));
        };
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .map_err(RigError::io("writing to the publisher"))
    }

    fn complaint(&self) -> String {
        let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        match process::tail(&log) {
            "" => String::new(),
            said => format!("; it said: {said}"),
        }
    }
}
