//! The JSON file beside each recording: what it is a recording of, for whoever finds the files
//! without the server.

use super::Recording;
use crate::db::RecordingRow;
use serde_json::{Value, json};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// As the recordings themselves: for their owner, and readable by the group.
const FILE_MODE: u32 = 0o640;

/// Where the description of a recording is whose first file is `first`.
pub(super) fn path(first: &Path) -> PathBuf {
    let mut name = first.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// What is written.
pub(super) fn text(row: RecordingRow) -> String {
    let room_name = row.room_name.clone();
    let info: Value = row
        .stream_info
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let recording = Recording::from_row(row);
    let mut shown = recording.library_json();
    // True of the server's database, not of the files.
    shown.remove("kept");
    shown.insert("quality".into(), recording.settings.quality.clone().into());
    shown.insert("room_name".into(), room_name.into());
    shown.insert("stream_data".into(), info);
    shown.insert("participants".into(), json!(recording.participants));
    let software = json!({"name": "Haven", "version": env!("CARGO_PKG_VERSION")});
    shown.insert("software".into(), software);
    let mut text = format!("{:#}", Value::Object(shown));
    text.push('\n');
    text
}

/// Writes a file whole or not at all: under another name first, which then takes its place.
///
/// # Errors
/// When the folder can't be written to; nothing is left then.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:08x}.tmp", rand::random::<u32>()));
    let draft = PathBuf::from(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
        return written;
    }
    // So that the new name is there after a power cut too.
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_replaced_whole_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("a.mp4"));
        assert_eq!(path.file_name().unwrap(), "a.mp4.json");
        for bytes in [&b"a longer first text"[..], b"short"] {
            write(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("missing/a.json"), b"").is_err());
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(write(&dir.path().join("folder"), b"").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
