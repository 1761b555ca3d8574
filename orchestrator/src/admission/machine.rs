//! What this machine has, and what a process uses of it.

use super::ledger::Used;
use haven_wire::Probe;
use procfs::{
    CpuInfo, Current, Meminfo, ProcResult,
    process::{Process, Stat},
};
use std::{path::Path, thread::available_parallelism};

/// What there is to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Machine {
    /// Cores that this process may use, as affinity and control group let it.
    pub(crate) cores: f64,
    /// Bytes of memory; none where that can't be found out.
    pub(crate) memory_bytes: Option<u64>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let memory = Meminfo::current().ok().map(|memory| memory.mem_total);
        let limits = memory.into_iter().chain(control_group_limit());
        Self {
            cores: available_parallelism().map_or(1.0, |cores| cores.get() as f64),
            memory_bytes: limits.min(),
        }
    }
}

/// The least limit that the control groups (version 2) above this process set.
fn control_group_limit() -> Option<u64> {
    let groups = Process::myself()
        .and_then(|process| process.cgroups())
        .ok()?;
    let group = groups.into_iter().find(|group| group.hierarchy == 0)?;
    let own = Path::new(group.pathname.trim_start_matches('/'));
    let root = Path::new("/sys/fs/cgroup");
    let limits = own.ancestors().filter_map(|ancestor| {
        let text = std::fs::read_to_string(root.join(ancestor).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok()
    });
    limits.min()
}

/// Names what measurements depend on: the machine and the programs.
pub(crate) fn fingerprint(machine: &Machine, probe: &Probe) -> String {
    let processor = CpuInfo::current()
        .ok()
        .and_then(|info| info.model_name(0).map(ToOwned::to_owned));
    let encoders: Vec<_> = probe
        .formats
        .iter()
        .map(|(name, format)| {
            let of = |encoder: &Option<String>| encoder.clone().unwrap_or_default();
            format!(
                "{name}={}+{}",
                of(&format.chosen.video),
                of(&format.chosen.audio)
            )
        })
        .collect();
    format!(
        "{} cores, {}, worker {}, GStreamer {}, {}",
        machine.cores,
        processor.unwrap_or_default(),
        probe.worker_version,
        probe.gstreamer_version,
        encoders.join(" ")
    )
}

/// What a process has used until now.
pub(super) fn used_by(pid: u32) -> ProcResult<Used> {
    let pid = i32::try_from(pid).map_err(|_| procfs::ProcError::NotFound(None))?;
    Ok(used(&Process::new(pid)?.stat()?))
}

/// What this process has used until now.
pub(super) fn used_here() -> ProcResult<Used> {
    Ok(used(&Process::myself()?.stat()?))
}

fn used(stat: &Stat) -> Used {
    let ticks = procfs::ticks_per_second() as f64;
    Used {
        cpu_s: (stat.utime + stat.stime) as f64 / ticks,
        memory_bytes: stat.rss * procfs::page_size(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haven_wire::{ChosenEncoders, FormatProbe};

    #[test]
    fn this_machine_has_something_and_this_process_uses_some() {
        let machine = Machine::look();
        assert!(machine.cores >= 1.0, "{machine:?}");
        let used = used_here().unwrap();
        assert!(machine.memory_bytes > Some(used.memory_bytes), "{used:?}");
        assert!(used.memory_bytes > 1 << 20, "{used:?}");
        assert_eq!(used_by(std::process::id()).unwrap().memory_bytes >> 30, 0);
        assert!(used_by(u32::MAX).is_err());
    }

    #[test]
    fn another_encoder_or_another_version_is_measured_anew() {
        let machine = Machine {
            cores: 2.0,
            memory_bytes: None,
        };
        let probe = |encoder: &str, version: &str| {
            let format = FormatProbe {
                chosen: ChosenEncoders {
                    video: Some(encoder.into()),
                    audio: None,
                },
                ..FormatProbe::default()
            };
            Probe {
                worker_version: version.into(),
                formats: [("h264".to_owned(), format)].into(),
                ..Probe::default()
            }
        };
        let first = fingerprint(&machine, &probe("x264enc", "1"));
        assert_eq!(first, fingerprint(&machine, &probe("x264enc", "1")));
        assert_ne!(first, fingerprint(&machine, &probe("vah264enc", "1")));
        assert_ne!(first, fingerprint(&machine, &probe("x264enc", "2")));
    }
}
