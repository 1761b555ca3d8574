use crate::{
    error::{Result, RigError},
    process,
};
use rustix::fs::FlockOperation;
use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// How long a build from a cold module cache may take.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// The root of the checkout this crate was built from.
pub fn repository() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir
        .ancestors()
        .nth(2)
        .unwrap_or(crate_dir)
        .to_path_buf()
}

/// Where the rig keeps what it builds: `HAVEN_RIG_DIR`, else `target/rig` in the checkout.
pub fn cache_dir() -> PathBuf {
    std::env::var_os("HAVEN_RIG_DIR").map_or_else(|| repository().join("target/rig"), PathBuf::from)
}

/// A built program of the workspace, `haven` or `haven-worker`: in `HAVEN_BIN_DIR`, else where the running
/// test was built to.
///
/// # Errors
/// [`RigError::NotBuilt`].
pub fn built_binary(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("HAVEN_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::env::current_exe().map_err(RigError::io("finding this program"))?;
            // Tests lie in target/debug/deps, programs in target/debug.
            let folder = own.parent().unwrap_or(Path::new("."));
            match folder.file_name() {
                Some(last) if last == "deps" || last == "examples" => {
                    folder.parent().unwrap_or(folder).to_path_buf()
                }
                _ => folder.to_path_buf(),
            }
        }
    };
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(RigError::NotBuilt {
        path,
        package: match name {
            "haven-worker" => "haven-worker",
            _ => "haven",
        },
    })
}

/// Finds a program on `PATH`.
///
/// # Errors
/// [`RigError::MissingTool`], which says what to install.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file());
    let (purpose, remedy) = match name {
        "ffmpeg" | "ffprobe" => ("to make and read media", "install the package `ffmpeg`"),
        "go" => (
            "to build livekit-server and the publisher",
            "install Go 1.26 or newer from https://go.dev/dl",
        ),
        "python3" => (
            "for the live publisher",
            "install the packages `python3` and `python3-venv`",
        ),
        "chromium" => (
            "to see pages as their users do",
            "install the package `chromium`",
        ),
        _ => ("by the tests", "put it on PATH"),
    };
    found.ok_or_else(|| RigError::MissingTool {
        tool: name.into(),
        purpose,
        remedy,
    })
}

/// Makes `name` in the cache unless it is there and was made from the same `recipe` (any text that
/// changes when the result would). `make` gets a path to write to; the result appears in one step. Of
/// several processes one makes it and the others wait.
///
/// # Errors
/// Whatever `make` fails with, and I/O errors of the cache.
pub(crate) async fn cached<F>(name: &str, recipe: &str, make: F) -> Result<PathBuf>
where
    F: AsyncFnOnce(&Path) -> Result<()>,
{
    let folder = cache_dir();
    let target = folder.join(name);
    let stamp = folder.join(format!("{name}.recipe"));
    let fresh = || target.exists() && std::fs::read_to_string(&stamp).is_ok_and(|s| s == recipe);
    if fresh() {
        return Ok(target);
    }
    let what = || format!("making {}", target.display());
    tokio::fs::create_dir_all(&folder)
        .await
        .map_err(RigError::io(what()))?;
    let _lock = lock(folder.join(format!("{name}.lock"))).await?;
    if fresh() {
        return Ok(target);
    }
    let unfinished = folder.join(format!("{name}.unfinished"));
    remove(&stamp).and_then(|()| remove(&unfinished))?;
    make(&unfinished).await?;
    remove(&target)?;
    std::fs::rename(&unfinished, &target).map_err(RigError::io(what()))?;
    std::fs::write(&stamp, recipe).map_err(RigError::io(what()))?;
    Ok(target)
}

/// Waits for the exclusive lock on a file and holds it as long as the file is open.
pub(crate) async fn lock(path: PathBuf) -> Result<File> {
    let what = format!("locking {}", path.display());
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::create(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    })
    .await
    .map_err(|error| RigError::unexpected(&*what, error))?;
    locked.map_err(RigError::io(what))
}

/// Removes a file or folder that may not be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(RigError::io(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Builds a Go program from `tests/rig/<module>`; `package` is `.`, `tool` for the module's tool, or
/// `./<folder>` for a program that shares what the module is built of, and is called like the folder.
pub(crate) async fn go_program(module: &str, package: &str) -> Result<PathBuf> {
    let source = repository().join("tests/rig").join(module);
    let mut recipe = String::new();
    let own_folder = package.strip_prefix("./");
    for folder in [
        Some(source.clone()),
        own_folder.map(|name| source.join(name)),
    ] {
        let Some(folder) = folder else { continue };
        let mut names: Vec<PathBuf> = std::fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(RigError::io(format!("listing {}", folder.display())))?;
        names.sort();
        for path in names.iter().filter(|path| path.is_file()) {
            recipe += &std::fs::read_to_string(path)
                .map_err(RigError::io(format!("reading {}", path.display())))?;
        }
    }
    let go = tool("go")?;
    let name = own_folder.unwrap_or(module);
    cached(name, &recipe, async |binary: &Path| {
        tracing::info!("building {name}; the first time this takes a minute or two");
        let mut command = Command::new(go);
        command.current_dir(&source).arg("build").arg("-o");
        command.arg(binary).arg(package);
        process::output(&format!("go build ({name})"), command, BUILD_LIMIT).await?;
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_purpose() {
        let error = tool("no-such-program").unwrap_err().to_string();
        assert!(error.contains("`no-such-program` is needed"), "{error}");
    }

    #[test]
    fn the_repository_holds_this_crate() {
        assert!(repository().join("tests/support/Cargo.toml").is_file());
    }
}
