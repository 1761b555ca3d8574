//! This program once more, as a process that may crash or hang: codecs abort, drivers do either.

use std::{
    env,
    ffi::OsStr,
    io::{self, Read},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// More than this, nobody reads.
const LONGEST_ANSWER_BYTES: u64 = 2000;
/// How long a process that was killed may take to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Why a process gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("it can't be tried: {0}")]
    Start(#[from] io::Error),
    /// What it said itself.
    #[error("{0}")]
    Failed(String),
    #[error("trying it ended with {0}")]
    Ended(ExitStatus),
    #[error("it was not done within {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("it hangs, and can't be killed: process {0}")]
    Unkillable(u32),
}

/// Runs this program with these arguments, and gives what it printed.
///
/// # Errors
/// When it can't be started, fails, crashes, or isn't done in time.
pub(crate) fn run<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Result<String, ChildError> {
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (reader, ended) = match read(&mut child) {
        Ok(reading) => reading,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error.into());
        }
    };
    let answer = ended.recv_timeout(limit);
    if answer.is_err() {
        let _ = child.kill();
    }
    // A process that a driver holds in the kernel can't even be killed: not waited for.
    if answer == Err(RecvTimeoutError::Timeout) && ended.recv_timeout(LAST_MOMENT).is_err() {
        return Err(ChildError::Unkillable(child.id()));
    }
    let _ = reader.join();
    let status = child.wait()?;
    match answer {
        Ok(answer) if status.success() => Ok(answer),
        Ok(reason) if reason.trim().is_empty() => Err(ChildError::Ended(status)),
        Ok(reason) => Err(ChildError::Failed(reason.trim().to_owned())),
        Err(_) => Err(ChildError::TooLong(limit)),
    }
}

/// Reads what it prints, until it ends.
fn read(child: &mut Child) -> io::Result<(JoinHandle<()>, Receiver<String>)> {
    let (sender, ended) = channel();
    let output = child.stdout.take();
    let reader = thread::Builder::new().name("child".into()).spawn(move || {
        let mut answer = String::new();
        if let Some(output) = output {
            let _ = output
                .take(LONGEST_ANSWER_BYTES)
                .read_to_string(&mut answer);
        }
        let _ = sender.send(answer);
    })?;
    Ok((reader, ended))
}

/// Ends this process, the hard way, unless it is dropped in time: whoever started it may be gone.
pub(crate) struct Fuse {
    alive: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl Fuse {
    /// One that blows after this long.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn new(limit: Duration) -> io::Result<Self> {
        let (alive, over) = channel::<()>();
        let watch = thread::Builder::new().name("watch".into());
        let watch = watch.spawn(move || {
            if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                process::abort();
            }
        })?;
        Ok(Self {
            alive: Some(alive),
            watch: Some(watch),
        })
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}
