use crate::{
    error::{Result, RigError},
    paths, process,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// How long installing the packages may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// The Python of the rig's virtual environment, made when first needed.
pub(super) async fn environment() -> Result<PathBuf> {
    let requirements = paths::repository().join("tests/rig/python/requirements.txt");
    let recipe = std::fs::read_to_string(&requirements)
        .map_err(RigError::io(format!("reading {}", requirements.display())))?;
    let python = paths::tool("python3")?;
    let folder = paths::cached("venv", &recipe, async |folder: &Path| {
        tracing::info!("installing the live publisher's packages");
        let mut make = Command::new(&python);
        // Only its `python3` is used, which may be moved; the scripts beside it name the old folder.
        make.args(["-m", "venv"]).arg(folder);
        process::output("python3 -m venv", make, INSTALL_LIMIT).await?;
        let mut install = Command::new(folder.join("bin/python3"));
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ]);
        install.arg(&requirements);
        process::output(
            "pip install (the live publisher's packages)",
            install,
            INSTALL_LIMIT,
        )
        .await?;
        Ok(())
    })
    .await?;
    Ok(folder.join("bin/python3"))
}
