//! What this process has used.

use std::{fs, io, time::Duration};

/// Processor time of this process, in user and system.
///
/// # Errors
/// When the system doesn't say.
pub(super) fn process_cpu() -> io::Result<Duration> {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Processor time of this thread.
///
/// # Errors
/// When the system doesn't say.
pub(super) fn thread_cpu() -> io::Result<Duration> {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is that of a timespec of ours, and nothing keeps it.
    if unsafe { libc::clock_gettime(id, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Ok(Duration::new(
        seconds,
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    ))
}

/// Resident memory of this process, in bytes.
///
/// # Errors
/// When the system doesn't say.
pub(super) fn resident() -> io::Result<u64> {
    status("VmRSS:")
}

/// The most that was resident, in bytes, since the process began or [`forget_peak`].
///
/// # Errors
/// When the system doesn't say.
pub(super) fn peak() -> io::Result<u64> {
    status("VmHWM:")
}

/// Has the peak begin at what is resident now (proc_pid_clear_refs(5)). Where that may not be, it
/// goes on, and memory that was needed before hides what is needed from now on.
pub(super) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn status(key: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = value.and_then(|value| value.split_whitespace().next());
    kilobytes
        .and_then(|number| number.parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::other(format!("/proc/self/status has no {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_grows() {
        let (cpu, thread) = (process_cpu().unwrap(), thread_cpu().unwrap());
        let block = vec![1_u8; 32 << 20];
        let resident = resident().unwrap();
        assert!(resident > 32 << 20);
        // Other tests run beside this one.
        assert!(peak().unwrap() >= resident);
        assert!(block.iter().all(|byte| *byte == 1));
        assert!(process_cpu().unwrap() > cpu);
        assert!(thread_cpu().unwrap() > thread);
    }
}
