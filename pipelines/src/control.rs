use crate::{
    inbox::{Event, Inbox, Outbox},
    session::Session,
    tokens::Tokens,
};
use haven_wire::{
    EndReason, LineError, LineReader, ServerMessage, SessionConfig, WorkerMessage, encode_line,
};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc::Receiver},
    thread,
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    net::unix::pipe,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// How long the thread that reads standard input may take to notice the end; one that hangs in a
/// read is left behind.
const READER_TIMEOUT: Duration = Duration::from_millis(100);

/// Why the worker can't do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("cannot set up the process: {0}")]
    Process(#[from] io::Error),
    #[error("reading from the server failed: {0}")]
    Line(#[from] LineError),
    #[error("the server's first message must be \"start\"")]
    NotStarted,
    #[error("the session's thread panicked")]
    Panicked,
}

/// Runs one session by the server's messages, until either ends.
///
/// # Errors
/// When the server doesn't speak the protocol.
pub(crate) fn run() -> Result<(), ControlError> {
    let protocol = take_standard_output()?;
    let (outbox, messages) = Outbox::new();
    let writer = thread::Builder::new()
        .name("to-server".into())
        .spawn(move || write_messages(protocol, &messages))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(converse(outbox));
    runtime.shutdown_timeout(READER_TIMEOUT);
    if writer.join().is_err() {
        tracing::error!("the thread that writes to the server panicked");
    }
    result
}

/// The protocol's end of standard output; whatever a library prints goes to standard error from
/// here on.
fn take_standard_output() -> io::Result<File> {
    let protocol: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok(File::from(protocol))
}

fn write_messages(mut protocol: File, messages: &Receiver<WorkerMessage>) {
    for message in messages {
        let written = encode_line(&message)
            .map_err(io::Error::from)
            .and_then(|line| protocol.write_all(&line));
        if let Err(error) = written {
            tracing::warn!(%error, "the server does not read any more");
            return;
        }
    }
}

async fn converse(outbox: Outbox) -> Result<(), ControlError> {
    let mut lines = LineReader::new(standard_input()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let config = tokio::select! {
        first = next(&mut lines) => match first? {
            Some(ServerMessage::Start(config)) => config,
            Some(_) => return Err(ControlError::NotStarted),
            None => return Ok(()),
        },
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let (inbox, events) = Inbox::new();
    let tokens = Arc::new(Tokens::new(outbox.clone()));
    let (over, mut session_over) = oneshot::channel();
    let session = {
        let (inbox, tokens) = (inbox.clone(), tokens.clone());
        thread::Builder::new()
            .name("session".into())
            .spawn(move || {
                run_session(config, inbox, &events, outbox, tokens);
                let _ = over.send(());
            })?
    };
    let mut listening = true;
    loop {
        tokio::select! {
            _ = &mut session_over => break,
            line = next(&mut lines), if listening => match line {
                // Answered here, since the session's thread may be what waits for it.
                Ok(Some(ServerMessage::Token(reply))) => tokens.answer(reply),
                Ok(Some(message)) => inbox.notify(Event::Server(message)),
                Ok(None) => {
                    tracing::info!("the server is gone");
                    listening = false;
                    inbox.notify(Event::Stop);
                }
                Err(error) => {
                    tracing::error!(%error, "the server cannot be understood");
                    listening = false;
                    inbox.notify(Event::Stop);
                }
            },
            _ = terminate.recv() => inbox.notify(Event::Stop),
            _ = interrupt.recv() => inbox.notify(Event::Stop),
        }
    }
    session.join().map_err(|_| ControlError::Panicked)
}

/// A session from beginning to end, on a thread of its own.
fn run_session(
    config: SessionConfig,
    inbox: Inbox,
    events: &Receiver<Event>,
    outbox: Outbox,
    tokens: Arc<Tokens>,
) {
    let span = tracing::info_span!("session", session_id = config.session_id, key = config.key);
    let _entered = span.enter();
    let reason = match Session::start(config, inbox, outbox.clone(), tokens) {
        Ok(session) => session.run(events),
        Err(error) => start_failure(events, &error.to_string()),
    };
    outbox.send(WorkerMessage::Ended { reason });
}

/// The next message. A malformed line is passed over: a newer server may say more than this
/// worker knows.
async fn next(
    lines: &mut LineReader<Box<dyn AsyncRead + Unpin>>,
) -> Result<Option<ServerMessage>, LineError> {
    loop {
        match lines.next().await {
            Err(LineError::Malformed(error)) => {
                // Not the line itself: it may hold a token.
                tracing::warn!(
                    line = error.line(),
                    column = error.column(),
                    "malformed message"
                );
            }
            other => return other,
        }
    }
}

/// Standard input; a pipe, as the server gives it, is read without a thread that couldn't be
/// woken from its read.
fn standard_input() -> io::Result<Box<dyn AsyncRead + Unpin>> {
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    Ok(match pipe::Receiver::from_owned_fd(input) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    })
}

/// A source that fails at once says why on its bus; its reason is better than the state change's.
fn start_failure(events: &Receiver<Event>, error: &str) -> EndReason {
    tracing::error!(error, "the session does not start");
    events
        .try_iter()
        .find_map(|event| match event {
            Event::SourceEnded(reason) => Some(reason),
            _ => None,
        })
        .unwrap_or_else(|| EndReason::Error {
            message: error.into(),
        })
}
