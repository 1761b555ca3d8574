//! What things cost on this machine, measured at the first start on it.

use super::{Admission, fingerprint};
use crate::{Error, db::Db, worker::Workers};
use haven_wire::Costs;

/// Finds out what things cost on this machine: as it is stored, or by measuring it. Where that fails,
/// nothing is refused until the next start.
pub(crate) async fn measure(admission: Admission, workers: &Workers, db: &Db) {
    if !admission.limits() {
        return;
    }
    match find(&admission, workers, db).await {
        Ok(costs) => admission.set_costs(Some(costs)),
        Err(error) => {
            let error = error.chain();
            tracing::warn!(error, "the machine can't be measured: nothing is refused");
            admission.set_costs(None);
        }
    }
}

async fn find(admission: &Admission, workers: &Workers, db: &Db) -> Result<Costs, Error> {
    let machine = fingerprint(&admission.machine(), workers.probe().await?);
    let stored = db.machine_costs(machine.clone()).await?;
    // One that can't be read is an older version's.
    if let Some(costs) = stored.and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(costs);
    }
    tracing::info!(machine, "measuring what recordings cost here");
    let costs = workers.costs().await?;
    for (format, qualities) in &costs.recordings {
        for (quality, cost) in qualities {
            tracing::info!(
                format,
                quality,
                cpu = cost.cpu,
                memory_bytes = cost.memory_bytes,
                "measured"
            );
        }
    }
    let text = serde_json::to_string(&costs)
        .map_err(|error| Error::internal("storing the machine's costs", error))?;
    db.store_machine_costs(machine, text).await?;
    Ok(costs)
}
