//! Table `config`: the settings that clients have changed.

use super::Db;
use crate::Error;
use serde_json::{Map, Value};

impl Db {
    /// What is stored. A value that is no JSON is left out.
    pub(crate) async fn config(&self) -> Result<Map<String, Value>, Error> {
        self.call("reading the settings", |connection| {
            let mut statement = connection.prepare("SELECT name, value FROM config")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })?;
            let mut settings = Map::new();
            for row in rows {
                let (name, value) = row?;
                if let Ok(value) = serde_json::from_str(&value) {
                    settings.insert(name, value);
                }
            }
            Ok(settings)
        })
        .await
    }

    /// Stores `settings`; null removes one. Those that it doesn't name stay as they are.
    pub(crate) async fn set_config(&self, settings: Map<String, Value>) -> Result<(), Error> {
        self.call("storing the settings", move |connection| {
            let transaction = connection.transaction()?;
            for (name, value) in settings {
                match value {
                    Value::Null => {
                        transaction.execute("DELETE FROM config WHERE name = ?1", [name])?
                    }
                    value => transaction.execute(
                        "INSERT INTO config (name, value) VALUES (?1, ?2)
                         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                        [name, value.to_string()],
                    )?,
                };
            }
            transaction.commit()
        })
        .await
    }
}
