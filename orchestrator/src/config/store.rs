//! The settings in force, and the one way to change them while the server runs.

use super::{
    expand_home,
    settings::{Fields, Layer, Settings},
};
use crate::{Error, db::Db, folders};
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex as AsyncMutex, watch};

/// The setting that is a folder.
const DIRECTORY: &str = "recording_directory";
/// The setting that is never shown, and what is shown in its place.
const SECRET: &str = "livekit_api_secret";
pub(crate) const SHOWN_SECRET: &str = "set";

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

/// What clients have set and is valid.
#[derive(Clone, Debug, Default)]
struct Stored {
    fields: Fields,
    /// Where the recordings' folder really is, as of when it was chosen.
    directory: Option<PathBuf>,
}

impl Stored {
    fn layer(&self) -> Result<Layer, Error> {
        Ok(Layer {
            recording_directory: self.directory.clone(),
            ..Layer::read(&self.fields)?
        })
    }
}

/// Owner of the settings in force.
pub(crate) struct Store {
    layers: Mutex<Arc<Layers>>,
    db: Db,
    /// What clients have set. Held during a change: changes come one after the other.
    stored: AsyncMutex<Stored>,
    current: watch::Sender<Arc<Settings>>,
}

impl Store {
    /// Puts the settings together. What is stored and not valid any more (a folder that isn't
    /// allowed now) is left out, and logged.
    ///
    /// # Errors
    /// When the database fails, or another source is at fault.
    pub(crate) async fn open(layers: Layers, db: Db) -> Result<Self, Error> {
        let mut stored = Stored::default();
        for (name, value) in db.config().await? {
            let one = Fields::from_iter([(name.clone(), value)]);
            let checked = layers.stored(&one).and_then(|layer| {
                layers.settings(layer.clone())?;
                Ok(layer.recording_directory)
            });
            match checked {
                Ok(directory) => {
                    stored.fields.extend(one);
                    stored.directory = stored.directory.or(directory);
                }
                Err(error) => {
                    tracing::warn!(name, error = error.chain(), "a stored setting is left out");
                }
            }
        }
        let settings = layers.settings(stored.layer()?)?;
        Ok(Self {
            layers: Mutex::new(Arc::new(layers)),
            db,
            stored: AsyncMutex::new(stored),
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
        self.layers().command_line.names()
    }

    fn layers(&self) -> Arc<Layers> {
        Arc::clone(&self.layers.lock())
    }

    /// Takes over what the other sources say now; what clients have set stays set.
    ///
    /// # Errors
    /// Unprocessable, where the settings don't go together: then all is as it was.
    pub(crate) async fn reload(&self, layers: Layers) -> Result<(), Error> {
        let stored = self.stored.lock().await;
        let settings = layers.settings(stored.layer()?)?;
        *self.layers.lock() = Arc::new(layers);
        self.current.send_replace(Arc::new(settings));
        Ok(())
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
        let layers = self.layers();
        let mut next = stored.clone();
        let mut named = Fields::new();
        for name in Layer::NAMES {
            let Some(value) = change.get(*name) else {
                continue;
            };
            // As it is shown.
            if *name == SECRET && *value == SHOWN_SECRET {
                continue;
            }
            match value.is_null() {
                true => drop(next.fields.remove(*name)),
                false => drop(next.fields.insert((*name).to_owned(), value.clone())),
            }
            named.insert((*name).to_owned(), value.clone());
        }
        let fixed = self.fixed();
        let overridden = fixed.into_iter().filter(|name| named.contains_key(*name));
        let overridden = overridden.collect();
        if named.contains_key(DIRECTORY) {
            next.directory = self.chosen_directory(&named).await?;
        }
        let wanted = next.layer()?;
        // What is overridden must be valid too: it counts once the option is gone.
        check(&Settings::new(
            wanted.clone(),
            layers.default_directory.clone(),
        )?)?;
        let settings = Arc::new(layers.settings(wanted)?);
        if named.contains_key(DIRECTORY)
            && let Some(directory) = next.directory.clone()
        {
            writable(directory).await?;
        }
        self.db.set_config(named).await?;
        *stored = next;
        self.current.send_replace(Arc::clone(&settings));
        Ok(Changed {
            settings,
            overridden,
        })
    }

    /// Where the folder really is that a change names.
    async fn chosen_directory(&self, named: &Fields) -> Result<Option<PathBuf>, Error> {
        let (layers, named) = (self.layers(), named.clone());
        // On a dead network drive this takes long.
        let looked = tokio::task::spawn_blocking(move || layers.stored(&named));
        let layer = looked
            .await
            .map_err(|error| Error::internal("looking at the recording directory", error))??;
        Ok(layer.recording_directory)
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
    async fn what_the_file_says_later_is_taken_over_below_what_clients_have_set() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(layers(dir.path()), Db::in_memory())
            .await
            .unwrap();
        change(&store, json!({"retain_days": 2})).await.unwrap();
        let mut later = layers(dir.path());
        later.file = layer(json!({"retain_days": 9, "retain_bytes": 9}));
        let mut seen = store.subscribe();
        store.reload(later.clone()).await.unwrap();
        assert!(seen.has_changed().unwrap());
        let settings = seen.borrow_and_update().clone();
        assert_eq!(settings.retain_days, Some(2));
        assert_eq!(settings.retain_bytes, Some(9));
        later.file = layer(json!({"retain_bytes": 9, "history_rows": 0}));
        assert!(store.reload(later).await.is_err());
        assert_eq!(store.current().retain_bytes, Some(9));
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
    async fn a_change_leaves_alone_what_it_does_not_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("home/disk")).unwrap();
        let db = Db::in_memory();
        let stored = json!({"split_minutes": "of a newer server", "retain_days": 2,
            "recording_directory": "~/disk"});
        let fields = stored.as_object().unwrap();
        db.set_config(fields.clone()).await.unwrap();
        let store = Store::open(layers(&root), db.clone()).await.unwrap();
        assert_eq!(store.current().split_minutes, Some(3), "it isn't valid");
        // The disk that the recordings are on is taken away, and a link out is in its place.
        std::fs::remove_dir(root.join("home/disk")).unwrap();
        std::os::unix::fs::symlink("/", root.join("home/disk")).unwrap();
        let changed = change(&store, json!({"retain_bytes": 5, "retain_days": null}));
        let settings = changed.await.unwrap().settings;
        assert_eq!(settings.retain_bytes, Some(5));
        assert_eq!(settings.recording_directory, root.join("home/disk"));
        let kept = db.config().await.unwrap();
        let mut expected = fields.clone();
        expected.remove("retain_days");
        expected.insert("retain_bytes".into(), json!(5));
        assert_eq!(kept, expected);
    }

    #[tokio::test]
    async fn a_secret_as_it_is_shown_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(layers(dir.path()), Db::in_memory())
            .await
            .unwrap();
        let secret = |store: &Store| {
            let given = store.current().given.livekit_api_secret.clone();
            given.map(|secret| secret.expose().to_owned())
        };
        change(&store, json!({"livekit_api_secret": "set"}))
            .await
            .unwrap();
        assert_eq!(secret(&store), None);
        change(&store, json!({"livekit_api_secret": "s3cret"}))
            .await
            .unwrap();
        change(
            &store,
            json!({"livekit_api_secret": "set", "retain_days": 5}),
        )
        .await
        .unwrap();
        assert_eq!(secret(&store).as_deref(), Some("s3cret"));
    }

    #[tokio::test]
    async fn the_folder_that_is_asked_for_must_be_writable_though_another_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("home")).unwrap();
        std::fs::write(root.join("home/file"), "").unwrap();
        let mut layers = layers(&root);
        layers.command_line.recording_directory = Some(root.join("fixed"));
        let store = Store::open(layers, Db::in_memory()).await.unwrap();
        let error = change(&store, json!({"recording_directory": "~/file"}))
            .await
            .unwrap_err();
        assert!(error.message().contains("recording_directory"), "{error}");
        assert!(!root.join("fixed").exists());
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
