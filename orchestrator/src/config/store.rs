//! The settings in force, and the one way to change them while the server runs.

use super::{
    expand_home,
    settings::{Fields, Layer, Settings},
};
use crate::{Error, db::Db, folders};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, watch};

/// The sources of settings that don't change while the server runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    pub(crate) command_line: Layer,
    pub(crate) environment: Layer,
    pub(crate) file: Layer,
    pub(crate) home: Option<PathBuf>,
    /// Folder of the recordings where no source names one.
    pub(crate) default_directory: PathBuf,
    /// Folders under which clients may choose that of the recordings.
    pub(crate) roots: Vec<PathBuf>,
}

impl Layers {
    /// The settings in force where `stored` is what clients have set.
    ///
    /// # Errors
    /// Unprocessable; names the setting at fault.
    pub(crate) fn settings(&self, stored: Layer) -> Result<Settings, Error> {
        let merged = self.command_line.clone().or(&stored);
        let merged = merged.or(&self.environment).or(&self.file);
        Settings::new(merged, self.default_directory.clone())
    }

    /// A client's choice of the recordings' folder: absolute, and under a root.
    fn directory(&self, path: &Path) -> Result<PathBuf, Error> {
        let refuse = |message: String| Error::field("recording_directory", message);
        let path = expand_home(path, self.home.as_deref());
        let real = folders::real_path(&path).map_err(|error| {
            refuse("must be an absolute path, or begin with ~/, without ..".into()).caused_by(error)
        })?;
        let real_root = |root: &PathBuf| folders::real_path(root).ok();
        let mut roots = self.roots.iter().filter_map(real_root);
        if roots.any(|root| real.starts_with(root)) {
            return Ok(real);
        }
        let roots: Vec<_> = self
            .roots
            .iter()
            .map(|root| root.to_string_lossy())
            .collect();
        Err(refuse(format!(
            "must lie under {}: allow another folder with --recording-root",
            roots.join(" or ")
        )))
    }

    /// What clients have set, with the folder in its final form.
    fn stored(&self, fields: &Fields) -> Result<Layer, Error> {
        let mut layer = Layer::read(fields)?;
        if let Some(path) = &layer.recording_directory {
            layer.recording_directory = Some(self.directory(path)?);
        }
        Ok(layer)
    }
}

/// What a change has come to.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) settings: Arc<Settings>,
    /// Names of what was set in vain: the command line says otherwise.
    pub(crate) overridden: Vec<&'static str>,
}

/// Owner of the settings in force.
pub(crate) struct Store {
    layers: Layers,
    db: Db,
    /// What clients have set. Held during a change: changes come one after the other.
    stored: Mutex<Fields>,
    current: watch::Sender<Arc<Settings>>,
}

impl Store {
    /// Puts the settings together. What is stored and not valid any more (a folder that isn't
    /// allowed now) is left out, and logged.
    ///
    /// # Errors
    /// When the database fails, or another source is at fault.
    pub(crate) async fn open(layers: Layers, db: Db) -> Result<Self, Error> {
        let mut stored = db.config().await?;
        let mut valid = Fields::new();
        for (name, value) in &stored {
            let one = Fields::from_iter([(name.clone(), value.clone())]);
            match layers.stored(&one).and_then(|layer| layers.settings(layer)) {
                Ok(_) => valid.extend(one),
                Err(error) => {
                    tracing::warn!(name, error = error.chain(), "a stored setting is left out");
                }
            }
        }
        stored = valid;
        let settings = layers.settings(layers.stored(&stored)?)?;
        Ok(Self {
            layers,
            db,
            stored: Mutex::new(stored),
            current: watch::Sender::new(Arc::new(settings)),
        })
    }

    /// The settings in force.
    pub(crate) fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.current.borrow())
    }

    /// The settings in force, now and later.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Settings>> {
        self.current.subscribe()
    }

    /// Names of the settings that the command line has fixed.
    pub(crate) fn fixed(&self) -> Vec<&'static str> {
        self.layers.command_line.names()
    }

    /// Changes settings: all of `change` or nothing. Null gives a setting back to the other
    /// sources. `check` has the last word on what the settings would be.
    ///
    /// # Errors
    /// Unprocessable; names the setting at fault.
    pub(crate) async fn change(
        &self,
        change: &Fields,
        check: impl FnOnce(&Settings) -> Result<(), Error>,
    ) -> Result<Changed, Error> {
        let mut stored = self.stored.lock().await;
        let mut next = stored.clone();
        let mut overridden = Vec::new();
        let fixed = self.fixed();
        for name in Layer::NAMES {
            match change.get(*name) {
                None => continue,
                Some(value) if value.is_null() => drop(next.remove(*name)),
                Some(value) => drop(next.insert((*name).to_owned(), value.clone())),
            }
            if fixed.contains(name) {
                overridden.push(*name);
            }
        }
        let wanted = self.layers.stored(&next)?;
        // What is overridden must be valid too: it counts once the option is gone.
        check(&Settings::new(
            wanted.clone(),
            self.layers.default_directory.clone(),
        )?)?;
        let settings = Arc::new(self.layers.settings(wanted)?);
        if change.contains_key("recording_directory") {
            writable(settings.recording_directory.clone()).await?;
        }
        self.db.set_config(next.clone()).await?;
        *stored = next;
        self.current.send_replace(Arc::clone(&settings));
        Ok(Changed {
            settings,
            overridden,
        })
    }
}

async fn writable(dir: PathBuf) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || folders::check_writable(&dir))
        .await
        .map_err(|error| Error::internal("looking at the recording directory", error))?
        .map_err(|error| {
            let message = "can't be written to by the server: choose another folder";
            Error::field("recording_directory", message).caused_by(error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn layer(value: Value) -> Layer {
        Layer::read(value.as_object().unwrap()).unwrap()
    }

    fn layers(root: &Path) -> Layers {
        Layers {
            command_line: layer(json!({"waiting_timeout": 1})),
            environment: layer(json!({"waiting_timeout": 3, "split_minutes": 3, "retain_days": 3})),
            file: layer(json!({"split_minutes": 4, "retain_days": 4, "retain_bytes": 4})),
            home: Some(root.join("home")),
            default_directory: root.join("recordings"),
            roots: vec![root.join("home")],
        }
    }

    async fn change(store: &Store, change: Value) -> Result<Changed, Error> {
        store.change(change.as_object().unwrap(), |_| Ok(())).await
    }

    #[tokio::test]
    async fn the_command_line_beats_clients_who_beat_the_environment_which_beats_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::in_memory();
        let store = Store::open(layers(dir.path()), db.clone()).await.unwrap();
        let mut seen = store.subscribe();
        let changed = change(
            &store,
            json!({"waiting_timeout": 2, "split_minutes": 2, "x": 1}),
        );
        let changed = changed.await.unwrap();
        assert_eq!(changed.overridden, ["waiting_timeout"]);
        assert!(seen.has_changed().unwrap());
        for store in [&store, &Store::open(layers(dir.path()), db).await.unwrap()] {
            let settings = store.current();
            assert_eq!(settings.waiting_timeout.as_secs(), 1);
            assert_eq!(settings.split_minutes, Some(2));
            assert_eq!(settings.retain_days, Some(3));
            assert_eq!(settings.retain_bytes, Some(4));
        }
        let reset = change(&store, json!({"split_minutes": null}))
            .await
            .unwrap();
        assert_eq!(reset.settings.split_minutes, Some(3));
        assert!(seen.borrow_and_update().split_minutes == Some(3));
    }

    #[tokio::test]
    async fn one_wrong_setting_keeps_all_from_being_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(layers(dir.path()), Db::in_memory())
            .await
            .unwrap();
        for (wrong, name) in [
            (
                json!({"split_bytes": 2 << 20, "retain_bytes": "x"}),
                "retain_bytes",
            ),
            (
                json!({"split_bytes": 2 << 20, "waiting_timeout": -1}),
                "waiting_timeout",
            ),
            (
                json!({"split_bytes": 2 << 20, "recording_directory": "/etc"}),
                "recording_directory",
            ),
        ] {
            let error = change(&store, wrong).await.unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        let refuse = |_: &Settings| Err(Error::field("default_output_format", "is unknown"));
        let wanted = json!({"split_bytes": 2 << 20});
        assert!(
            store
                .change(wanted.as_object().unwrap(), refuse)
                .await
                .is_err()
        );
        assert_eq!(store.current().split_bytes, None);
        assert!(store.db.config().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn recordings_stay_under_the_allowed_roots() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("home")).unwrap();
        std::os::unix::fs::symlink("/", root.join("home/out")).unwrap();
        let db = Db::in_memory();
        let store = Store::open(layers(&root), db.clone()).await.unwrap();
        let ask = |path: &str| json!({ "recording_directory": path });
        for outside in ["relative", "/", "~/../x", "~/out/tmp", "~someone/x"] {
            assert!(change(&store, ask(outside)).await.is_err(), "{outside}");
        }
        let changed = change(&store, ask("~/films")).await.unwrap();
        assert_eq!(
            changed.settings.recording_directory,
            root.join("home/films")
        );
        assert!(root.join("home/films").is_dir());

        let mut narrower = layers(&root);
        narrower.roots = vec![root.join("elsewhere")];
        let store = Store::open(narrower, db).await.unwrap();
        assert_eq!(store.current().recording_directory, root.join("recordings"));
    }
}
