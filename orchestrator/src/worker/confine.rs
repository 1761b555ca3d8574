//! What a worker's process may take of the machine. It decodes what strangers send: no fault in
//! that shall take the server or the other sessions along.
//!
//! The limits are set from here once the process has begun, which is before it is told anything:
//! what it could do about its limits by itself, a library could too that has gone astray.

use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, getrlimit, prlimit},
};
use std::fs;
use tokio::process::Child;

/// Files, sockets and pipes: a session that is recorded in five formats has about 60 of them.
const OPEN_FILES: u64 = 4096;
/// Bytes of a core dump, which would hold tokens. With none at all the kernel still hands the
/// process over to a program that collects dumps; 1 keeps it from both (fs/coredump.c, core(5)).
const CORE_BYTES: u64 = 1;
/// Above the server's: thousandths of the machine's memory by which a worker counts as larger when
/// the kernel chooses whom to kill (proc_pid_oom_score_adj(5)).
const OOM_SCORE_ABOVE_US: i32 = 300;
const OOM_SCORE_MOST: i32 = 1000;

/// Binds a process, and all that it will start, to its limits.
pub(super) fn confine(child: &Child, memory_bytes: Option<u64>) {
    // None: it has been waited for.
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return;
    };
    let limits = [
        (Resource::Core, Some(CORE_BYTES)),
        (Resource::Nofile, Some(OPEN_FILES)),
        // Not RLIMIT_AS, which counts libraries and what is only reserved: a worker with four
        // encoders touched 390 MB, and counted 745 MB in this and 1.9 GB in that.
        (Resource::Data, memory_bytes),
    ];
    for (resource, most) in limits {
        let Some(most) = most else { continue };
        match limit(pid, resource, most) {
            // It has ended already.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => tracing::warn!(?pid, ?resource, %error, "a worker can't be limited"),
        }
    }
    if let Err(error) = offer_to_oom_killer(pid)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(?pid, %error, "a worker's oom_score_adj can't be raised");
    }
}

/// Our own limits, which it has inherited, can't be raised.
fn limit(pid: Pid, resource: Resource, most: u64) -> Result<(), Errno> {
    let ours = getrlimit(resource).maximum;
    let most = Some(ours.map_or(most, |ours| ours.min(most)));
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    prlimit(Some(pid), resource, limit).map(drop)
}

/// When the machine has no memory left, a worker goes before the server does.
fn offer_to_oom_killer(pid: Pid) -> std::io::Result<()> {
    let ours = fs::read_to_string("/proc/self/oom_score_adj")?;
    let ours: i32 = ours.trim().parse().map_err(std::io::Error::other)?;
    let score = (ours + OOM_SCORE_ABOVE_US).min(OOM_SCORE_MOST);
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    fs::write(path, score.to_string())
}

/// Whether a line of a process that is about to die tells of a lack of memory: as Rust's allocator,
/// GLib, libstdc++, libav, x264, libaom and the kernel put it.
pub(super) fn is_about_memory(line: &str) -> bool {
    const WORDS: [&str; 7] = [
        "memory allocation of ",
        "failed to allocate",
        "cannot allocate memory",
        "out of memory",
        "std::bad_alloc",
        "malloc of size",
        // No stack for it.
        "creating thread",
    ];
    let line = line.to_lowercase();
    WORDS.iter().any(|word| line.contains(word))
}

/// What to say of a process that died for want of memory.
pub(super) fn out_of_memory(limit_bytes: Option<u64>) -> String {
    match limit_bytes {
        Some(bytes) => format!(
            "out of memory: it may have {bytes} bytes (worker_memory_bytes), or the machine has no more"
        ),
        None => "out of memory".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_about_memory_are_known() {
        for line in [
            "memory allocation of 1073741824 bytes failed",
            "(haven-worker:1): GLib-ERROR **: ../glib/gmem.c:135: failed to allocate 24 bytes",
            "GLib-ERROR **: creating thread 'queue0:src': Error creating thread: Resource temporarily unavailable",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "x264 [error]: malloc of size 6 failed",
        ] {
            assert!(is_about_memory(line), "{line}");
        }
        assert!(!is_about_memory("thread 'main' panicked at x"));
    }
}
