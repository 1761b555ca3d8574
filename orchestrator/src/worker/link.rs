//! Messages with a worker, and the ladder that ends it.

use super::{Timings, WorkerEvent, confine::out_of_memory};
use haven_wire::{LineError, LineReader, ServerMessage, WorkerMessage, encode_line};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    process::Child,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long what a dead worker said last is read for: a process it left may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// "Never", for a timer.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// The supervision of one worker process.
pub(super) struct Link {
    pub(super) key: String,
    pub(super) child: Child,
    /// What copies its log, and says whether that told of a lack of memory.
    pub(super) log: JoinHandle<bool>,
    /// What it may have; none: no limit.
    pub(super) memory_bytes: Option<u64>,
    pub(super) commands: mpsc::Sender<ServerMessage>,
    pub(super) events: mpsc::Sender<WorkerEvent>,
    pub(super) stop: CancellationToken,
    pub(super) abandon: CancellationToken,
    pub(super) timings: Timings,
}

/// Where a worker is on its way up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Launched; killed if it isn't ready in time.
    Launched,
    Ready,
    /// `Shutdown` was said; SIGINT is next.
    Asked,
    /// SIGINT was sent, or nothing is to be finalised; SIGKILL is next.
    Last,
    Killed,
}

impl Link {
    /// Runs until the process has been waited for; its end is the last event.
    pub(super) async fn run(mut self, stdout: impl AsyncRead + Unpin) {
        let mut reader = LineReader::new(stdout);
        let gone = self.supervise(&mut reader).await;
        if !last_words(&mut reader, &self.events).await {
            tracing::warn!(
                key = self.key,
                "a process of the worker holds its pipe open"
            );
        }
        let how = self.told(gone).await;
        tracing::info!(key = self.key, how, "worker exited");
        self.tell(WorkerEvent::Exited(how)).await;
    }

    async fn supervise<R: AsyncRead + Unpin>(&mut self, reader: &mut LineReader<R>) -> Gone {
        let (mut step, mut reading) = (Step::Launched, true);
        let mut deadline = Instant::now() + self.timings.ready;
        let mut why = None;
        loop {
            let going = matches!(step, Step::Launched | Step::Ready);
            tokio::select! {
                status = self.child.wait() => return Gone { status, step, why },
                () = self.abandon.cancelled(), if going || step == Step::Asked => {
                    self.ask();
                    (step, deadline) = (Step::Last, Instant::now() + self.timings.abandon);
                }
                () = self.stop.cancelled(), if going => {
                    self.ask();
                    (step, deadline) = (Step::Asked, Instant::now() + self.timings.shutdown);
                }
                () = sleep_until(deadline) => {
                    (step, deadline) = self.next_step(step, &mut why);
                }
                line = reader.next::<WorkerMessage>(), if reading => match line {
                    Ok(Some(message)) => {
                        if step == Step::Launched && matches!(message, WorkerMessage::Ready { .. }) {
                            (step, deadline) = (Step::Ready, Instant::now() + FAR);
                        }
                        self.tell(WorkerEvent::Message(message)).await;
                    }
                    Err(LineError::Malformed(error)) => {
                        tracing::warn!(key = self.key, %error, "the worker said what can't be understood");
                    }
                    // It can't be heard any more, so it is of no use: let it finalise and go.
                    Ok(None) | Err(_) => {
                        reading = false;
                        self.stop.cancel();
                    }
                },
            }
        }
    }

    fn next_step(&self, step: Step, why: &mut Option<&'static str>) -> (Step, Instant) {
        let now = Instant::now();
        match step {
            Step::Launched => {
                *why = Some("it was not ready in time");
                self.signal(Signal::KILL);
                (Step::Killed, now + FAR)
            }
            Step::Asked => {
                tracing::warn!(key = self.key, "the worker does not stop: interrupting it");
                self.signal(Signal::INT);
                (Step::Last, now + self.timings.interrupt)
            }
            Step::Last => {
                tracing::warn!(key = self.key, "the worker does not stop: killing it");
                self.signal(Signal::KILL);
                (Step::Killed, now + FAR)
            }
            Step::Ready | Step::Killed => (step, now + FAR),
        }
    }

    fn ask(&self) {
        if self.commands.try_send(ServerMessage::Shutdown).is_err() {
            tracing::warn!(key = self.key, "the worker takes no messages");
        }
    }

    /// Signals the worker's process group. The process hasn't been waited for, so its id is its
    /// own still.
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && let Err(error) = kill_process_group(pid, signal)
        {
            tracing::warn!(key = self.key, %error, "can't signal the worker");
        }
    }

    /// How it went, in words; the process is gone, so its log is at its end.
    async fn told(&mut self, gone: Gone) -> String {
        let lacked_memory = timeout(LAST_WORDS, &mut self.log).await;
        match gone.status {
            Ok(status) if status.success() => gone.to_string(),
            _ if matches!(lacked_memory, Ok(Ok(true))) => {
                format!("{gone}, {}", out_of_memory(self.memory_bytes))
            }
            Ok(status)
                if gone.step != Step::Killed && status.signal() == Some(Signal::KILL.as_raw()) =>
            {
                format!("{gone}, not by us: the kernel does so where memory runs out")
            }
            _ => gone.to_string(),
        }
    }

    async fn tell(&self, event: WorkerEvent) {
        // The session is gone: its handle was dropped, which has begun the ladder.
        let _ = self.events.send(event).await;
    }
}

/// Tells what a dead worker said last, however long its session takes to hear it; whether that was
/// all.
async fn last_words<R: AsyncRead + Unpin>(
    reader: &mut LineReader<R>,
    events: &mpsc::Sender<WorkerEvent>,
) -> bool {
    loop {
        match timeout(LAST_WORDS, reader.next::<WorkerMessage>()).await {
            Ok(Ok(Some(message))) => {
                // A session that is gone hears nothing.
                let _ = events.send(WorkerEvent::Message(message)).await;
            }
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// A process that is gone.
struct Gone {
    status: std::io::Result<ExitStatus>,
    /// How far it had come.
    step: Step,
    /// Why it was killed.
    why: Option<&'static str>,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match &self.status {
            Ok(status) => status.to_string(),
            Err(error) => format!("can't be waited for: {error}"),
        };
        match self.why {
            Some(why) => write!(f, "{why} ({how})"),
            None => f.write_str(&how),
        }
    }
}

/// Writes messages to the worker until either side is gone.
pub(super) async fn write(
    mut stdin: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<ServerMessage>,
) {
    while let Some(message) = messages.recv().await {
        let line = match encode_line(&message) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "a message to a worker can't be written");
                continue;
            }
        };
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(requests: u64) -> Vec<u8> {
        let lines = (0..requests)
            .map(|request_id| encode_line(&WorkerMessage::TokenRequest { request_id }).unwrap());
        lines.flatten().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_session_hears_all_that_a_dead_worker_said() {
        let text = said(5);
        let mut reader = LineReader::new(text.as_slice());
        let (events, mut heard) = mpsc::channel(1);
        let listen = async {
            let mut count = 0;
            while heard.recv().await.is_some() {
                count += 1;
                tokio::time::sleep(2 * LAST_WORDS).await;
            }
            count
        };
        let tell = async move { last_words(&mut reader, &events).await };
        assert_eq!(tokio::join!(tell, listen), (true, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_that_stays_open_is_not_waited_for() {
        let (mut pipe, end) = tokio::io::duplex(1024);
        pipe.write_all(&said(1)).await.unwrap();
        let (events, mut heard) = mpsc::channel(2);
        assert!(!last_words(&mut LineReader::new(end), &events).await);
        assert!(heard.try_recv().is_ok());
        assert!(heard.try_recv().is_err());
    }
}
