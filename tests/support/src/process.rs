use crate::error::{Result, RigError, within};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::{
    process::{ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

/// How long a process has after SIGKILL. It can't refuse; a loaded machine may take its time.
const REAP_LIMIT: Duration = Duration::from_secs(20);

/// A process that never outlives its owner.
///
/// It runs in a process group of its own. Dropping the guard kills the group and waits for it; when
/// this process dies first, the kernel kills the child.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: Pid,
    inner: tokio::process::Child,
    reaped: bool,
}

impl Child {
    /// Starts `command`; `name` is for error texts.
    ///
    /// # Errors
    /// [`RigError::Io`] when it can't be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(name: impl Into<String>, mut command: Command) -> Result<Self> {
        let name = name.into();
        command.process_group(0);
        // SAFETY: between fork and exec only one system call is made, `prctl`, which is
        // async-signal-safe; nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        let inner =
            spawn_on_lasting_thread(command).map_err(RigError::io(format!("starting {name}")))?;
        let pid = inner
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| RigError::unexpected(&*name, "has no process id"))?;
        Ok(Self {
            name,
            pid,
            inner,
            reaped: false,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// The pipe to its standard input, once, if one was asked for.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.inner.stdin.take()
    }

    /// The pipe from its standard output, once, if one was asked for.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// The pipe from its standard error, once, if one was asked for.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.inner.stderr.take()
    }

    /// Sends a signal to the process (not to its group).
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.reaped {
            return Err(RigError::unexpected(&*self.name, "has ended already"));
        }
        rustix::process::kill_process(self.pid, signal)
            .map_err(|errno| RigError::io(format!("signalling {}", self.name))(errno.into()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        let running = matches!(self.inner.try_wait(), Ok(None));
        self.reaped |= !running;
        running
    }

    /// Waits for its end, for `limit` at most.
    ///
    /// # Errors
    /// [`RigError::TimedOut`]; the process then still runs.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = within(
            format!("the end of {}", self.name),
            limit,
            self.inner.wait(),
        )
        .await?
        .map_err(RigError::io(format!("waiting for {}", self.name)))?;
        self.reaped = true;
        Ok(status)
    }

    /// Asks it to end with SIGTERM; kills its group when it takes longer than `grace`. Always waits.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::TERM)?;
        }
        match self.wait(grace).await {
            Err(RigError::TimedOut { .. }) => self.kill().await,
            other => other,
        }
    }

    /// Kills its group with SIGKILL and waits.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        if !self.reaped {
            // ESRCH: the group is gone, so the wait returns at once.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        self.wait(REAP_LIMIT).await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped || !self.is_running() {
            return;
        }
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        // The process stays a zombie for tokio to collect: two collectors would disturb each other.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = rustix::process::waitid(WaitId::Pid(self.pid), options);
        let _ = self.inner.try_wait();
    }
}

type Spawned = std::io::Result<tokio::process::Child>;
type Job = Box<dyn FnOnce() + Send>;

/// Starts processes on one thread that lasts as long as this process: the kernel's parent-death signal
/// is bound to the *thread* that forked (prctl(2)), and a test's threads end sooner.
fn spawn_on_lasting_thread(mut command: Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        // Never joined: it ends with the process, which is its purpose.
        std::thread::Builder::new()
            .name("rig-spawner".into())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .map(|_| jobs)
            .unwrap_or_else(|_| mpsc::channel().0)
    });
    let runtime = tokio::runtime::Handle::current();
    let (reply, answer) = mpsc::channel();
    let job = move || {
        let _runtime = runtime.enter();
        let _ = reply.send(command.spawn());
    };
    let gone = || std::io::Error::other("the rig's spawning thread is gone");
    spawner.send(Box::new(job)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// [`RigError::Failed`] with the end of its standard error, [`RigError::TimedOut`] (it is killed then).
pub(crate) async fn output(name: &str, mut command: Command, limit: Duration) -> Result<Captured> {
    use tokio::io::AsyncReadExt;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Child::spawn(name, command)?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out, err) = (child.take_stdout(), child.take_stderr());
    let read = async {
        let read_out = async {
            match out {
                Some(mut pipe) => pipe.read_to_end(&mut stdout).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let read_err = async {
            match err {
                Some(mut pipe) => pipe.read_to_end(&mut stderr).await.map(|_| ()),
                None => Ok(()),
            }
        };
        tokio::try_join!(read_out, read_err)
    };
    within(name, limit, read)
        .await?
        .map_err(RigError::io(format!("reading from {name}")))?;
    let status = child.wait(limit).await?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    if !status.success() {
        return Err(RigError::Failed {
            program: name.into(),
            status,
            stderr: tail(&stderr).into(),
        });
    }
    Ok(Captured { stdout, stderr })
}

/// What a program wrote.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The last 4 KiB of a text, for error messages.
pub(crate) fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(4096);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn dropping_the_guard_ends_the_whole_group() {
        let mut command = shell("sleep 600 & echo $!; wait");
        command.stdout(Stdio::piped());
        let mut child = Child::spawn("a shell", command).unwrap();
        let mut line = String::new();
        let mut stdout = tokio::io::BufReader::new(child.take_stdout().unwrap());
        tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut line)
            .await
            .unwrap();
        let grandchild = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        drop(child);
        // The end of the pipe says that nobody holds it any more: the grandchild is gone.
        let mut rest = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut rest);
        within("the grandchild's end", REAP_LIMIT, end)
            .await
            .unwrap()
            .unwrap();
        assert!(grandchild.as_raw_nonzero().get() > 0);
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let mut command = shell("trap '' TERM; echo ready; while :; do sleep 1; done");
        command.stdout(Stdio::piped());
        let mut child = Child::spawn("a stubborn shell", command).unwrap();
        let mut ready = [0; 5];
        let mut stdout = child.take_stdout().unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut ready)
            .await
            .unwrap();
        let status = child.stop(Duration::from_millis(50)).await.unwrap();
        assert!(!status.success());
        assert!(!child.is_running());
    }

    #[tokio::test]
    async fn a_failure_carries_what_the_program_said() {
        let error = output("a shell", shell("echo no luck >&2; exit 3"), REAP_LIMIT)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
    }
}
