//! Table `machine_costs`: what things cost on this machine.

use super::Db;
use crate::Error;
use rusqlite::OptionalExtension;

impl Db {
    /// What was measured on this machine, as JSON.
    pub(crate) async fn machine_costs(&self, machine: String) -> Result<Option<String>, Error> {
        self.call("reading the machine's costs", move |connection| {
            let query = "SELECT costs FROM machine_costs WHERE machine = ?1";
            let found = connection.query_row(query, [machine], |row| row.get(0));
            found.optional()
        })
        .await
    }

    /// Stores what was measured on this machine, in place of what was measured on others: a data
    /// folder is one machine's.
    pub(crate) async fn store_machine_costs(
        &self,
        machine: String,
        costs: String,
    ) -> Result<(), Error> {
        self.call("storing the machine's costs", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM machine_costs", [])?;
            let insert = "INSERT INTO machine_costs (machine, costs) VALUES (?1, ?2)";
            transaction.execute(insert, [machine, costs])?;
            transaction.commit()
        })
        .await
    }
}
