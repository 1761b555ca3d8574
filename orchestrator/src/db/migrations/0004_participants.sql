-- JSON: [{"identity", "name", "tracks": [{"kind", "source"}]}], who published or spoke while it was recorded.
ALTER TABLE recordings ADD COLUMN participants TEXT NOT NULL DEFAULT '[]';
