//! What a pass-through subscriber costs: `livekitsrc` with its frames thrown away, against an empty
//! pipeline, measured in turn in one run on the same room (720p30 H.264 and Opus).
//!
//! ```sh
//! cargo build --workspace --release && target/release/source_cost [SECONDS] [ROUNDS]
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark sleeps for as long as it measures"
)]

use gst::prelude::*;
use haven_benches::{Result, Usage, machine, median};
use haven_rig::{Clip, ClipParticipant, ClipSpec, LiveKitServer, Publisher, Role};
use std::io::{BufRead, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A child measures nothing before this: joining, and the first frames.
const WARM_UP: Duration = Duration::from_secs(3);

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["child", url, token] => child(Some((url, token))),
        ["child"] => child(None),
        _ => {
            let number = |index: usize, default: u64| {
                words.get(index).map_or(Ok(default), |word| word.parse())
            };
            let (seconds, rounds) = (number(0, 20)?, number(1, 3)?);
            tokio::runtime::Runtime::new()?.block_on(compare(seconds, rounds))
        }
    }
}

async fn compare(seconds: u64, rounds: u64) -> Result {
    println!("{}", machine());
    let livekit = LiveKitServer::start().await?;
    let clip = Clip::get(ClipSpec::default()).await?;
    let streamer = ClipParticipant::new(
        "streamer",
        livekit.token("bench", "streamer", Role::Publisher)?,
    );
    let publisher = Publisher::clip(&livekit.url(), &clip, &[streamer], true).await?;
    let token = livekit.token("bench", "viewer-bench", Role::Viewer)?;
    let url = livekit.url();
    println!("round   cores%   MB   threads   first frame");
    let (mut cores, mut memory, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let time = Duration::from_secs(seconds);
        let empty = measure(&["child"], time)?;
        let full = measure(&["child", &url, &token], time)?;
        let extra = (
            (full.cores - empty.cores) * 100.0,
            (full.memory - empty.memory) / 1e6,
            full.threads - empty.threads,
        );
        println!(
            "{round:>5} {:>8.2} {:>4.1} {:>9.0}   {:.0} ms",
            extra.0, extra.1, extra.2, full.first_frame_ms
        );
        cores.push(extra.0);
        memory.push(extra.1);
        threads.push(extra.2);
    }
    println!(
        "median: {:.2} % of a core, {:.1} MB, {:.0} threads beyond an empty pipeline (aims: 2 %, 25 MB, 6)",
        median(&mut cores),
        median(&mut memory),
        median(&mut threads)
    );
    publisher.stop().await?;
    Ok(())
}

struct Cost {
    cores: f64,
    memory: f64,
    threads: f64,
    first_frame_ms: f64,
}

/// Runs this program as a child that says when it is ready, and measures it for a while.
fn measure(arguments: &[&str], time: Duration) -> Result<Cost> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env("HAVEN_ICE_ADDRESSES", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let cost = watch(&mut child, time);
    // End of input is the child's sign to end.
    drop(child.stdin.take());
    child.wait()?;
    cost
}

fn watch(child: &mut Child, time: Duration) -> Result<Cost> {
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    let first_frame_ms = line.trim().parse()?;
    std::thread::sleep(WARM_UP);
    let before = Usage::of(child.id())?;
    std::thread::sleep(time);
    let after = Usage::of(child.id())?;
    Ok(Cost {
        cores: after.cores_since(&before),
        memory: after.memory as f64,
        threads: after.threads as f64,
        first_frame_ms,
    })
}

/// A pipeline, with a subscriber or empty; prints the time to its first frame in milliseconds, and
/// ends with its input.
fn child(room: Option<(&str, &str)>) -> Result {
    gst::init()?;
    gstlivekitsrc::plugin_register_static()?;
    let pipeline = gst::Pipeline::new();
    let (send, first_frame) = sync_channel(1);
    if let Some((url, token)) = room {
        let source = gst::ElementFactory::make("livekitsrc")
            .property("url", url)
            .property("token", token)
            .build()?;
        pipeline.add(&source)?;
        throw_away(&pipeline, &source, &send);
    }
    let started = Instant::now();
    pipeline.set_state(gst::State::Playing)?;
    if room.is_some() {
        first_frame.recv()?;
    }
    println!("{:.1}", started.elapsed().as_secs_f64() * 1e3);
    std::io::stdout().flush()?;
    let mut nothing = String::new();
    std::io::stdin().read_line(&mut nothing)?;
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

fn throw_away(pipeline: &gst::Pipeline, source: &gst::Element, came: &SyncSender<()>) {
    let (pipeline, came) = (pipeline.downgrade(), came.clone());
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = pipeline.upgrade() else {
            return;
        };
        let sink = gst::ElementFactory::make("fakesink")
            .property("sync", false)
            .build();
        let Ok(sink) = sink else { return };
        let linked = pipeline
            .add(&sink)
            .and_then(|()| sink.sync_state_with_parent());
        if let (Ok(()), Some(input)) = (linked, sink.static_pad("sink")) {
            let came = came.clone();
            input.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                // Full from the second frame on.
                let _ = came.try_send(());
                gst::PadProbeReturn::Ok
            });
            if let Err(error) = pad.link(&input) {
                eprintln!("{}: {error}", pad.name());
            }
        }
    });
}
