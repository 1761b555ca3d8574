//! What the doctor looks at.

use super::{Finding, Health, is_conflict};
use crate::{
    cli::{serve, units},
    config::{Config, Layer},
    folders,
    recordings::{free_bytes, known_formats},
    tls::Tls,
    worker::Workers,
};
use haven_wire::Probe;
use rustix::{
    fs::{Access, access},
    process::{Resource, getrlimit},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// The oldest GStreamer that the plugins are built for.
const OLDEST_GSTREAMER: (u32, u32) = (1, 22);
/// How long a neighbour may take to answer.
const NEIGHBOUR_LIMIT: Duration = Duration::from_secs(15);
/// Each session and each viewer needs a few.
const FEW_FILES: u64 = 4096;

/// The worker, the GStreamer that it finds, and the formats that both can record.
pub(super) async fn worker(config: &Config, workers: &Workers, findings: &mut Vec<Finding>) {
    let probe = match workers.find() {
        Ok(()) => workers.probe().await,
        Err(error) => Err(error),
    };
    let probe = match probe {
        Ok(probe) => probe,
        Err(error) => {
            let message = format!("{}: {}", config.worker.display(), error.chain());
            return findings.push(Finding::bad("worker", message));
        }
    };
    let path = config.worker.display();
    findings.push(match probe.worker_version == env!("CARGO_PKG_VERSION") {
        true => Finding::good(
            "worker",
            format!("{path}, version {}", probe.worker_version),
        ),
        false => Finding::poor(
            "worker",
            format!(
                "{path} is version {}, and this is {}: install both from one build",
                probe.worker_version,
                env!("CARGO_PKG_VERSION")
            ),
        ),
    });
    findings.push(gstreamer(&probe.gstreamer_version));
    for (element, package) in &probe.missing {
        findings.push(missing(
            "session",
            &[(element.clone(), package.clone())].into(),
        ));
    }
    findings.extend(formats(probe));
}

/// `GStreamer 1.22.0`, as it names itself.
fn gstreamer(version: &str) -> Finding {
    let number = version.split_whitespace().next_back().unwrap_or_default();
    let mut numbers = number.split('.').map_while(|text| text.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_GSTREAMER;
    match found >= OLDEST_GSTREAMER {
        true => Finding::good("GStreamer", number),
        false => Finding::bad(
            "GStreamer",
            format!("{version} is too old: {major}.{minor} is the oldest that works"),
        ),
    }
}

fn missing(what: &str, missing: &BTreeMap<String, String>) -> Finding {
    let named: Vec<_> = missing
        .iter()
        .map(|(element, package)| format!("{element} (package {package})"))
        .collect();
    let mut finding = Finding::bad(what, format!("needs {}", named.join(", ")));
    finding.packages = missing.values().cloned().collect();
    finding
}

fn formats(probe: &Probe) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, known) in known_formats(Some(probe)) {
        let what = format!("format {name}");
        let format = &known.probe;
        findings.push(match (known.available(), format.missing.is_empty()) {
            (true, _) => {
                let encoder = format.encoder.as_deref();
                let by = encoder.map_or("needs no encoder".into(), |name| format!("by {name}"));
                Finding::good(&what, by)
            }
            (false, false) => missing(&what, &format.missing),
            (false, true) if format.notes.is_empty() => {
                Finding::bad(&what, "this worker doesn't offer it")
            }
            (false, true) => Finding::bad(&what, format.notes.join("; ")),
        });
        if known.available() {
            findings.extend(format.notes.iter().map(|note| Finding::poor(&what, note)));
        }
    }
    findings
}

/// The certificate and its key.
pub(super) fn certificate(config: &Config, findings: &mut Vec<Finding>) {
    let Some(files) = &config.tls else {
        return;
    };
    findings.push(match Tls::open(files.clone()) {
        Ok(_) => Finding::good("certificate", files.cert.display().to_string()),
        Err(error) => Finding::bad("certificate", error.chain()),
    });
}

/// The folders, and the space on their disks.
pub(super) fn folders(config: &Config, findings: &mut Vec<Finding>) {
    findings.push(folder("data folder", &config.data_dir));
    let Ok(settings) = config.layers.settings(Layer::default()) else {
        return;
    };
    let dir = &settings.recording_directory;
    findings.push(folder("recordings", dir));
    let reserve = settings.disk_reserve_bytes;
    if let Ok(free) = free_bytes(&existing(dir)) {
        let shown = format!("{} are free", units::size(free));
        findings.push(match free {
            free if free < reserve => Finding::bad(
                "disk",
                format!(
                    "{shown}, {} are kept in reserve: nothing can be recorded",
                    units::size(reserve)
                ),
            ),
            // What ten recordings of 2 Mbit/s take in an hour.
            free if free < reserve.saturating_add(9_000_000_000) => Finding::poor("disk", shown),
            _ => Finding::good("disk", shown),
        });
    }
}

fn folder(what: &str, dir: &Path) -> Finding {
    let shown = dir.display();
    if dir.is_dir() {
        return match folders::check_writable(dir) {
            Ok(()) => Finding::good(what, shown.to_string()),
            Err(error) => Finding::bad(what, format!("{shown} can't be written to: {error}")),
        };
    }
    // Nothing is made by looking.
    let parent = existing(dir);
    match access(&parent, Access::WRITE_OK) {
        Ok(()) => Finding::good(what, format!("{shown} (is made when it is needed)")),
        Err(error) => {
            let parent = parent.display();
            Finding::bad(what, format!("{shown} can't be made in {parent}: {error}"))
        }
    }
}

/// What of a path is there.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|part| part.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// Whether the address is free, or a server of ours has it.
pub(super) async fn address(config: &Config, findings: &mut Vec<Finding>) {
    let runs = config.data_dir.is_dir()
        && serve::lock(&config.data_dir).is_err_and(|error| is_conflict(&error));
    let listen = config.listen;
    findings.push(match (TcpListener::bind(listen).await, runs) {
        (Ok(_), false) => Finding::good("address", format!("{listen} is free")),
        (Ok(_), true) => Finding::poor(
            "address",
            format!("{listen} is free, and a server that listens elsewhere uses the data folder"),
        ),
        (Err(_), true) => Finding::good("address", format!("a server listens on {listen}")),
        (Err(error), false) => Finding::bad(
            "address",
            format!("can't listen on {listen}: {error}; choose another --listen"),
        ),
    });
}

/// What the system allows a process.
pub(super) fn limits(findings: &mut Vec<Finding>) {
    let files = getrlimit(Resource::Nofile).current;
    findings.push(match files {
        Some(files) if files < FEW_FILES => Finding::poor(
            "open files",
            format!("{files} at most: for many viewers, allow more (ulimit -n, LimitNOFILE=)"),
        ),
        Some(files) => Finding::good("open files", format!("{files} at most")),
        None => Finding::good("open files", "no limit"),
    });
}

/// Who is asked over the network.
pub(super) async fn neighbours(config: &Config, findings: &mut Vec<Finding>) {
    let what = "pump.fun";
    let asked = async {
        let client = pumpfun_api::Client::new(config.pumpfun.clone())?;
        client.live_page(0, 1, true).await
    };
    findings.push(match timeout(NEIGHBOUR_LIMIT, asked).await {
        Ok(Ok(_)) => Finding::good(what, "answers"),
        Ok(Err(error)) => Finding::poor(what, format!("can't be asked: {error}")),
        Err(_) => Finding::poor(what, "gives no answer in time"),
    });
    let settings = config.layers.settings(Layer::default());
    if let Some(livekit) = settings.ok().and_then(|settings| settings.livekit) {
        findings.push(livekit_server(&livekit.url).await);
    }
}

async fn livekit_server(address: &str) -> Finding {
    let what = "LiveKit";
    let place = url::Url::parse(address).ok().and_then(|url| {
        let port = match url.scheme() {
            "ws" | "http" => 80,
            _ => 443,
        };
        Some((url.host_str()?.to_owned(), url.port().unwrap_or(port)))
    });
    let Some((host, port)) = place else {
        return Finding::bad(what, "LIVEKIT_URL is no address");
    };
    // Brackets are the address's way to write an IPv6 literal, not the resolver's.
    let name = host.trim_matches(['[', ']']).to_owned();
    match timeout(NEIGHBOUR_LIMIT, TcpStream::connect((name, port))).await {
        Ok(Ok(_)) => Finding::good(what, format!("{host}:{port} can be reached")),
        Ok(Err(error)) => Finding::new(
            Health::Bad,
            what,
            format!("{host}:{port} can't be reached: {error}"),
        ),
        Err(_) => Finding::bad(what, format!("{host}:{port} gives no answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_gstreamer_is_told() {
        for (version, health) in [
            ("GStreamer 1.22.0", Health::Good),
            ("GStreamer 1.26.3", Health::Good),
            ("GStreamer 2.0.0", Health::Good),
            ("GStreamer 1.20.9", Health::Bad),
            ("none", Health::Bad),
        ] {
            assert_eq!(gstreamer(version).health, health, "{version}");
        }
    }

    #[test]
    fn a_format_that_lacks_an_element_names_its_package() {
        let mut probe = Probe::default();
        let format = haven_wire::FormatProbe {
            codec: "libx264".into(),
            missing: [("avenc_aac".to_owned(), "gstreamer1.0-libav".to_owned())].into(),
            ..Default::default()
        };
        probe.formats.insert("h264".into(), format);
        let findings = formats(&probe);
        let h264 = findings
            .iter()
            .find(|one| one.what == "format h264")
            .unwrap();
        assert_eq!(h264.health, Health::Bad);
        assert!(h264.packages.contains("gstreamer1.0-libav"));
        assert!(h264.message.contains("avenc_aac"), "{}", h264.message);
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        assert_eq!(folder("x", &new).health, Health::Good);
        assert!(!new.exists());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(existing(&dir.path().join("file/x")), dir.path());
    }
}
