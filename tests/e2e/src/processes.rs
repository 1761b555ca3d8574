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
