//! `pumpfunmeta` behind `livekitsrc`, in the lines of its document, and in its examples in Python
//! and C.

use haven_e2e::{Publishing, Result, Stage};
use haven_rig::media::{decode_to_end, probe};
use haven_rig::pumpfun::Endpoint;
use haven_rig::{Child, built_binary, repository, within};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The first start reads every plugin on the machine.
const LIMIT: Duration = Duration::from_secs(90);
const EXAMPLES: &str = "plugins/pumpfunmeta/examples";

/// The document's shell block that has this in it.
fn documented(part: &str) -> Result<String> {
    let document = std::fs::read_to_string(repository().join("docs/elements/pumpfunmeta.md"))?;
    let mut blocks = document
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains(part));
    Ok(block
        .ok_or_else(|| format!("no shell block with {part:?}"))?
        .to_owned())
}

/// A command that finds the built elements, and the stage's coin.
fn command(program: impl AsRef<std::ffi::OsStr>, stage: &Stage, folder: &Path) -> Result<Command> {
    let plugins = built_binary("haven")?;
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("MINT", &stage.mint)
        .env("GST_PLUGIN_PATH", plugins.parent().ok_or("no folder")?)
        .env("GST_REGISTRY", folder.join("registry"))
        .envs(stage.pumpfun.environment())
        .stdout(Stdio::piped());
    Ok(command)
}

fn shell(block: &str, stage: &Stage, folder: &Path) -> Result<Child> {
    let mut command = command("bash", stage, folder)?;
    command.args(["-c", &format!("exec {block}")]);
    Ok(Child::spawn("a line of the document", command)?)
}

/// All that a program prints until it ends well.
async fn output_of(name: &str, command: Command) -> Result<Vec<String>> {
    let mut child = Child::spawn(name, command)?;
    let output = child.take_stdout().ok_or("no standard output")?;
    let mut lines = BufReader::new(output).lines();
    let mut all = Vec::new();
    within(name, LIMIT, async {
        while let Ok(Some(line)) = lines.next_line().await {
            all.push(line);
        }
    })
    .await?;
    assert!(child.wait(LIMIT).await?.success(), "{all:?}");
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_behind_livekitsrc_says_which_coin_it_is_about() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let folder = tempfile::tempdir()?;
    // The line names the coin once, to the source.
    let mut child = shell(&documented("coin.mp4")?, &stage, folder.path())?;
    let file = folder.path().join("coin.mp4");
    within("two seconds of file", LIMIT, async {
        while std::fs::metadata(&file).map_or(0, |data| data.len()) < 200_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await?;
    child.signal(Signal::INT)?;
    assert!(child.wait(LIMIT).await?.success());
    let probed = probe(&file).await?;
    let has = |name: &str, part: &str| {
        let mut tags = probed.tags.iter();
        tags.any(|(tag, value)| tag == name && value.contains(part))
    };
    assert!(has("title", "KindnessCoin (KIND)"), "{probed:?}");
    assert!(has("comment", &stage.mint), "{probed:?}");
    assert_eq!(
        probed.stream("video").map(|stream| &*stream.codec),
        Some("h264")
    );
    decode_to_end(&file).await?;
    assert_eq!(stage.pumpfun.count(Endpoint::Coin), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_that_prints_messages_prints_the_coin() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    let folder = tempfile::tempdir()?;
    let mut child = shell(&documented("gst-launch-1.0 -m")?, &stage, folder.path())?;
    let output = child.take_stdout().ok_or("no standard output")?;
    let mut lines = BufReader::new(output).lines();
    let told = within("the coin", LIMIT, async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("pumpfun-coin") {
                return line;
            }
        }
        String::new()
    })
    .await?;
    assert!(told.contains("symbol=(string)KIND"), "{told}");
    let reader = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child.signal(Signal::INT)?;
    child.wait(LIMIT).await?;
    reader.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_reads_the_meta() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    let folder = tempfile::tempdir()?;
    let script = repository().join(EXAMPLES).join("read_meta.py");
    let mut command = command(script, &stage, folder.path())?;
    command.args([&stage.mint, "5"]);
    let lines = output_of("read_meta.py", command).await?;
    assert_eq!(lines.len(), 5, "{lines:?}");
    let expected = "name=KindnessCoin, symbol=KIND, market-cap-usd=101778.36, participants=231";
    for line in lines {
        assert!(line.starts_with(expected), "{line}");
        assert!(line.contains(" as of 20"), "{line}");
    }
    Ok(())
}

/// Compiles the example with the flags that its first lines tell.
async fn compile(source: &Path, program: &Path) -> Result {
    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs", "gstreamer-1.0"])
        .output()
        .await?;
    assert!(flags.status.success(), "{flags:?}");
    let flags = String::from_utf8(flags.stdout)?;
    let compiled = Command::new("gcc")
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"])
        .arg(source)
        .arg("-o")
        .arg(program)
        .args(flags.split_whitespace())
        .output()
        .await?;
    let complaints = String::from_utf8_lossy(&compiled.stderr).into_owned();
    assert!(compiled.status.success(), "{complaints}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_c_compiles_and_reads_the_meta() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    let folder = tempfile::tempdir()?;
    let source: PathBuf = repository().join(EXAMPLES).join("read_meta.c");
    let program = folder.path().join("read_meta");
    compile(&source, &program).await?;
    let mut command = command(&program, &stage, folder.path())?;
    command.args([&stage.mint, "5"]);
    let lines = output_of("read_meta", command).await?;
    assert_eq!(lines, ["KindnessCoin (KIND), 101778.36 USD, 231 people"; 5]);
    Ok(())
}
