//! What the benchmarks share: reading what a process costs.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// Any failure ends a benchmark.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// What a process has used until now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    cpu: Duration,
    /// Resident memory in bytes, shared pages by its share (`Pss`).
    pub memory: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads it from `/proc`.
    ///
    /// # Errors
    /// When there is no such process, or the kernel says something unknown.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may have spaces: fields are counted behind it.
        let fields: Vec<&str> = match stat.rsplit_once(')') {
            Some((_, fields)) => fields.split_whitespace().collect(),
            None => return Err(io::Error::other("no name in stat")),
        };
        // utime and stime are fields 14 and 15 of proc(5), num_threads is 20; the first here is 3.
        let number = |field: usize| -> io::Result<u64> {
            let text = fields.get(field - 3);
            text.and_then(|text| text.parse().ok())
                .ok_or_else(|| io::Error::other(format!("no field {field} in stat")))
        };
        let ticks = number(14)? + number(15)?;
        let cpu =
            Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Ok(Self {
            at: Instant::now(),
            cpu,
            memory: memory(pid)?,
            threads: number(20)?,
        })
    }

    /// Cores used since `before`: 1.0 is all of one.
    pub fn cores_since(&self, before: &Self) -> f64 {
        let wall = self.at.duration_since(before.at).as_secs_f64();
        (self.cpu - before.cpu).as_secs_f64() / wall
    }
}

fn memory(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|text| text.parse::<u64>().ok());
    let kilobytes = kilobytes.ok_or_else(|| io::Error::other("no Pss in smaps_rollup"))?;
    Ok(kilobytes << 10)
}

/// The processor, how many of it, and the kernel: what a figure is worth nothing without.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} × {model}, Linux {}", kernel.trim())
}

/// The middle one; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
