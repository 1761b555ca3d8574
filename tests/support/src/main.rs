//! A room to try things in: livekit-server, a publisher and pump.fun's stand-in, until Ctrl-C.

use clap::{Parser, ValueEnum};
use haven_rig::{
    Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, LiveOptions, Publisher, Result,
    RigError, Role,
    pumpfun::{Coin, FakePumpFun, random_mint},
};
use std::{fmt::Write, io::IsTerminal};
use tokio::signal::unix::{SignalKind, signal};

/// Identity of the publisher in each room.
const STREAMER: &str = "streamer";

/// Starts a real LiveKit room with a publisher, and a stand-in of pump.fun's API that leads to it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Codec of the video.
    #[arg(long, value_enum, default_value_t = VideoCodec::H264)]
    codec: VideoCodec,
    /// Draw and encode live through the LiveKit SDK, instead of sending a pre-encoded clip.
    #[arg(long)]
    python: bool,
    /// Send several sizes (only with --python).
    #[arg(long, requires = "python")]
    simulcast: bool,
    /// How many rooms, each with a coin and a publisher.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    rooms: u32,
    /// 360p instead of 720p.
    #[arg(long)]
    small: bool,
    /// Mint of the first coin; random where not given.
    #[arg(long)]
    mint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VideoCodec {
    H264,
    Vp8,
    Vp9,
    /// Only with --python.
    Av1,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("haven-rig: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let listen = |kind| signal(kind).map_err(RigError::io("listening for signals"));
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    let until_signalled = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::select! {
        () = until_signalled => Ok(()),
        failure = keep_running(&arguments) => failure,
    }
    // What keep_running() started is dropped here: each process is killed and waited for.
}

/// Starts everything, prints it, and returns only when something fails.
async fn keep_running(arguments: &Arguments) -> Result<()> {
    let server = LiveKitServer::start().await?;
    let pumpfun = FakePumpFun::start(&server).await?;
    let mut coins = Vec::new();
    for index in 0..arguments.rooms {
        let given = arguments.mint.clone().filter(|_| index == 0);
        let coin = Coin::new(given.unwrap_or_else(random_mint));
        pumpfun.add_coin(coin.clone());
        coins.push(coin);
    }
    let publishers = publish(arguments, &server, &coins).await?;
    println!("{}", description(&server, &pumpfun, &coins)?);
    watch_over(publishers).await
}

async fn publish(
    arguments: &Arguments,
    server: &LiveKitServer,
    coins: &[Coin],
) -> Result<Vec<Publisher>> {
    let (width, height) = if arguments.small {
        (640, 360)
    } else {
        (1280, 720)
    };
    if arguments.python {
        let mut publishers = Vec::new();
        for coin in coins {
            let token = server.token(&coin.room, STREAMER, Role::Publisher)?;
            let options = LiveOptions {
                codec: match arguments.codec {
                    VideoCodec::H264 => "h264",
                    VideoCodec::Vp8 => "vp8",
                    VideoCodec::Vp9 => "vp9",
                    VideoCodec::Av1 => "av1",
                },
                simulcast: arguments.simulcast,
                width,
                height,
                ..LiveOptions::default()
            };
            publishers.push(Publisher::live(&server.url(), STREAMER, &token, &options).await?);
        }
        return Ok(publishers);
    }
    let codec = match arguments.codec {
        VideoCodec::H264 => Codec::H264,
        VideoCodec::Vp8 => Codec::Vp8,
        VideoCodec::Vp9 => Codec::Vp9,
        VideoCodec::Av1 => {
            let detail = "there is no pre-encoded AV1 clip; add --python";
            return Err(RigError::unexpected("--codec av1", detail));
        }
    };
    let spec = if arguments.small {
        ClipSpec::small(codec, ClipSpec::default().seconds)
    } else {
        ClipSpec {
            codec,
            ..ClipSpec::default()
        }
    };
    let clip = Clip::get(spec).await?;
    let mut participants = Vec::new();
    for coin in coins {
        let token = server.token(&coin.room, STREAMER, Role::Publisher)?;
        participants.push(ClipParticipant::new(STREAMER, token));
    }
    Ok(vec![
        Publisher::clip(&server.url(), &clip, &participants, true).await?,
    ])
}

/// Reads the publishers' reports, and says when one of them fails.
async fn watch_over(publishers: Vec<Publisher>) -> Result<()> {
    let mut watchers = tokio::task::JoinSet::new();
    for mut publisher in publishers {
        watchers.spawn(async move { publisher.watch().await });
    }
    match watchers.join_next().await {
        Some(Ok(error)) => Err(error),
        Some(Err(error)) => Err(RigError::unexpected("watching a publisher", error)),
        None => Err(RigError::unexpected(
            "watching the publishers",
            "there are none",
        )),
    }
}

fn description(server: &LiveKitServer, pumpfun: &FakePumpFun, coins: &[Coin]) -> Result<String> {
    let mut text = format!(
        "LiveKit server   {}\npump.fun stand-in {}\n",
        server.url(),
        pumpfun.url()
    );
    for coin in coins {
        let _ = writeln!(text, "mint {}  room {}", coin.mint, coin.room);
    }
    text.push_str("\n# for haven serve, haven-worker and gst-launch-1.0 in another shell:\n");
    let mut environment = pumpfun.environment();
    environment.extend(server.environment());
    environment.sort();
    environment.dedup();
    for (name, value) in environment {
        let _ = writeln!(text, "export {name}='{value}'");
    }
    if let Some(coin) = coins.first() {
        let token = server.token(&coin.room, "viewer-by-hand", Role::Viewer)?;
        let _ = writeln!(
            text,
            "\n# a viewer's token for the first room:\nexport RIG_TOKEN='{token}'"
        );
        let _ = writeln!(text, "export RIG_MINT='{}'", coin.mint);
        let _ = writeln!(text, "export RIG_ROOM='{}'", coin.room);
    }
    text.push_str("\nCtrl-C stops everything.");
    Ok(text)
}
