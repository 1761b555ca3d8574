//! Which processes run, as the kernel tells.

use crate::Result;
use std::fs;

/// A process of this machine.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, separated by spaces.
    pub arguments: String,
}

impl Process {
    /// Processor time that it has used, in seconds.
    ///
    /// # Errors
    /// When it doesn't run any more.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name stands in brackets and may hold anything; the times are the 14th and 15th field.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Memory that is its own, in bytes: what it shares with others is left out.
    ///
    /// # Errors
    /// When it doesn't run any more.
    pub fn own_bytes(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let own = rollup.lines().filter(|line| line.starts_with("Private_"));
        let kilobytes = own.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(kilobytes.sum::<u64>() * 1024)
    }
}

/// The descendants of a process.
///
/// # Errors
/// When the kernel's list can't be read.
pub fn descendants(ancestor: u32) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // Gone between listing and reading: not running.
        let (Some(parent), Ok(arguments)) = (parent(pid), fs::read(format!("/proc/{pid}/cmdline")))
        else {
            continue;
        };
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        all.push((parent, Process { pid, arguments }));
    }
    let mut wanted = vec![ancestor];
    let mut found = Vec::new();
    while let Some(parent) = wanted.pop() {
        for (_, process) in all.iter().filter(|(of, _)| *of == parent) {
            wanted.push(process.pid);
            found.push(process.clone());
        }
    }
    Ok(found)
}

/// The parent of a running process; none for one that has ended and waits to be reaped.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.next()?.parse().ok())?
}
