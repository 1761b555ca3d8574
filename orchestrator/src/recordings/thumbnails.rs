//! Pictures of recordings.

use super::{
    Archive,
    archive::{blocking, first_with_content, folder, no_such_file},
    drafts::Draft,
    files,
};
use crate::Error;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
};
use tokio::sync::OwnedMutexGuard;

/// A larger picture of a recording is none of ours.
const LARGEST_THUMBNAIL_BYTES: u64 = 8 << 20;

/// One at a time for each recording.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<i64, Weak<tokio::sync::Mutex<()>>>>>);

impl Turns {
    /// Waits until nobody else has it; until the guard is dropped nobody else gets it.
    async fn wait(&self, id: i64) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(&id).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(id, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

impl Archive {
    /// A JPEG of a recording, made once it is asked for first.
    ///
    /// # Errors
    /// Not found where it has no picture.
    pub(crate) async fn thumbnail(&self, id: i64) -> Result<Vec<u8>, Error> {
        let row = self.row(id).await?;
        let cached = self.thumbnails.join(format!("{id}.jpg"));
        let _turn = self.picturing.wait(id).await;
        if let Some(jpeg) = read_small(cached.clone()).await? {
            return Ok(jpeg);
        }
        let (folder, running) = (folder(&row), row.ended_at_ms.is_none());
        let Some(first) = first_with_content(row.files) else {
            return Err(no_such_file(format!("Recording {id} has no file")));
        };
        let path = first.path.clone();
        blocking("opening the recording", move || files::open(&path, &folder)).await?;
        let dir = self.thumbnails.clone();
        blocking("making the folder of thumbnails", move || {
            std::fs::create_dir_all(&dir)
                .map_err(|error| Error::internal("making the folder of thumbnails", error))
        })
        .await?;
        let draft = Draft::beside(&cached);
        self.workers.thumbnail(&first.path, &draft.0).await?;
        let jpeg = read_small(draft.0.clone()).await?;
        let jpeg =
            jpeg.ok_or_else(|| Error::internal("making a thumbnail", "the worker made none"))?;
        // What is still being written may have a better picture later.
        blocking("keeping the thumbnail", move || {
            if running {
                drop(draft);
            } else if let Err(error) = std::fs::rename(&draft.0, &cached) {
                tracing::warn!(%error, "a thumbnail can't be kept");
            }
            Ok(())
        })
        .await?;
        Ok(jpeg)
    }
}

/// A file's bytes, if it is there and no larger than a picture.
async fn read_small(path: PathBuf) -> Result<Option<Vec<u8>>, Error> {
    blocking("reading a thumbnail", move || {
        match std::fs::metadata(&path) {
            Ok(metadata) if (1..=LARGEST_THUMBNAIL_BYTES).contains(&metadata.len()) => {}
            _ => return Ok(None),
        }
        std::fs::read(&path)
            .map(Some)
            .map_err(|error| Error::internal("reading a thumbnail", error))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn each_recording_has_its_own_turn() {
        let turns = Turns::default();
        let first = turns.wait(1).await;
        assert!(turns.wait(1).now_or_never().is_none());
        turns.wait(2).now_or_never().unwrap();
        drop(first);
        turns.wait(1).now_or_never().unwrap();
        turns.wait(3).await;
        assert_eq!(
            turns.0.lock().len(),
            1,
            "what nobody waits for is forgotten"
        );
    }
}
