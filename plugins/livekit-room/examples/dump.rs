//! Writes what a room publishes into files, untouched, until Ctrl-C or the end of the room.
//!
//! ```sh
//! cargo run -p livekit-room --example dump -- wss://example.livekit.cloud TOKEN folder
//! ```
//!
//! Each track becomes a file of its own: H.264 as `.h264` (Annex B), VP8, VP9 and AV1 as `.ivf`,
//! Opus as `.ogg`. IVF and Ogg carry the times at which frames were captured.

use livekit_room::{
    AudioMode, Codec, Driver, FixedToken, Frame, Kind, RoomConfig, RoomEvent, Track,
};
use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Granules (samples) a second of every Opus stream.
const OPUS_RATE: u128 = 48_000;
/// IVF times count these.
const IVF_RATE: u32 = 90_000;

#[tokio::main]
async fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, folder] = &arguments[..] else {
        return Err("usage: dump URL TOKEN FOLDER".into());
    };
    std::fs::create_dir_all(folder)?;
    let config = RoomConfig {
        audio: AudioMode::Everyone,
        ..RoomConfig::default()
    };
    let driver = Driver::new(config, Box::new(FixedToken::new(url, token)));
    let stopper = driver.stopper();
    tokio::spawn(async move {
        // Without a handler for it, Ctrl-C ends the process, which is as good.
        if tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop();
        }
    });
    let mut dump = Dump::new(folder);
    let reason = driver.run(|event| dump.take(event)).await;
    dump.finish()?;
    println!("ended: {reason}");
    Ok(())
}

/// The files of a room.
struct Dump {
    folder: PathBuf,
    tracks: HashMap<Arc<str>, Track>,
    files: HashMap<Arc<str>, Output>,
    failure: Option<io::Error>,
}

impl Dump {
    fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            tracks: HashMap::new(),
            files: HashMap::new(),
            failure: None,
        }
    }

    fn take(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Frame(frame) => {
                if let Err(error) = self.write(&frame) {
                    eprintln!("{}: {error}", frame.track);
                    self.failure.get_or_insert(error);
                }
            }
            RoomEvent::TrackStarted(track) => {
                println!(
                    "{} publishes {:?} {}",
                    track.identity, track.kind, track.sid
                );
                self.tracks.insert(track.sid.clone(), track);
            }
            RoomEvent::Reconnecting { reason, attempt } => {
                println!("reconnecting ({attempt}): {reason}");
            }
            RoomEvent::State(state) => println!("{state:?}"),
            _ => {}
        }
    }

    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let file = match self.files.get_mut(&frame.track) {
            Some(file) => file,
            None => {
                let track = self.tracks.get(&frame.track);
                let output = Output::create(&self.folder, frame, track)?;
                self.files.entry(frame.track.clone()).or_insert(output)
            }
        };
        file.write(frame)
    }

    fn finish(self) -> Result {
        for file in self.files.into_values() {
            file.finish()?;
        }
        match self.failure {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// One file.
struct Output {
    container: Container,
    start: Instant,
    frames: u32,
}

enum Container {
    AnnexB(BufWriter<File>),
    Ivf(BufWriter<File>),
    /// With the packet that waits for its successor: the last one is marked as such.
    Ogg(
        Box<PacketWriter<'static, BufWriter<File>>>,
        Option<(Vec<u8>, u64)>,
    ),
}

impl Output {
    fn create(folder: &Path, frame: &Frame, track: Option<&Track>) -> io::Result<Self> {
        let extension = match (frame.codec, frame.codec.kind()) {
            (Codec::H264, _) => "h264",
            (_, Kind::Video) => "ivf",
            (_, Kind::Audio) => "ogg",
        };
        let file = File::create_new(folder.join(format!("{}.{extension}", frame.track)))?;
        let mut file = BufWriter::new(file);
        let container = match extension {
            "h264" => Container::AnnexB(file),
            "ivf" => {
                let size = track.map_or((0, 0), |track| (track.width, track.height));
                file.write_all(&ivf_header(frame.codec, size, 0))?;
                Container::Ivf(file)
            }
            _ => Container::Ogg(Box::new(opus_file(file)?), None),
        };
        Ok(Self {
            container,
            start: frame.time,
            frames: 0,
        })
    }

    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let since_start = frame.time.saturating_duration_since(self.start).as_nanos();
        self.frames += 1;
        match &mut self.container {
            Container::AnnexB(file) => file.write_all(&frame.data),
            Container::Ivf(file) => {
                let time = since_start * u128::from(IVF_RATE) / 1_000_000_000;
                file.write_all(&(frame.data.len() as u32).to_le_bytes())?;
                file.write_all(&(time as u64).to_le_bytes())?;
                file.write_all(&frame.data)
            }
            Container::Ogg(writer, waiting) => {
                let granule = (since_start * OPUS_RATE / 1_000_000_000) as u64;
                let next = (frame.data.to_vec(), granule);
                match waiting.replace(next) {
                    Some((packet, granule)) => {
                        let end = PacketWriteEndInfo::NormalPacket;
                        writer.write_packet(packet, 0, end, granule)
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.container {
            Container::AnnexB(mut file) => file.flush(),
            Container::Ivf(mut file) => {
                // The header's last field: how many frames there are.
                file.seek(SeekFrom::Start(24))?;
                file.write_all(&self.frames.to_le_bytes())?;
                file.flush()
            }
            Container::Ogg(mut writer, waiting) => {
                if let Some((packet, granule)) = waiting {
                    writer.write_packet(packet, 0, PacketWriteEndInfo::EndStream, granule)?;
                }
                writer.inner_mut().flush()
            }
        }
    }
}

/// The 32 bytes before the first frame of an IVF file.
fn ivf_header(codec: Codec, (width, height): (u32, u32), frames: u32) -> Vec<u8> {
    let four_cc = match codec {
        Codec::Vp8 => b"VP80",
        Codec::Vp9 => b"VP90",
        _ => b"AV01",
    };
    let mut header = Vec::with_capacity(32);
    header.extend_from_slice(b"DKIF");
    header.extend_from_slice(&0u16.to_le_bytes());
    header.extend_from_slice(&32u16.to_le_bytes());
    header.extend_from_slice(four_cc);
    header.extend_from_slice(&(width as u16).to_le_bytes());
    header.extend_from_slice(&(height as u16).to_le_bytes());
    header.extend_from_slice(&IVF_RATE.to_le_bytes());
    header.extend_from_slice(&1u32.to_le_bytes());
    header.extend_from_slice(&frames.to_le_bytes());
    header.extend_from_slice(&0u32.to_le_bytes());
    header
}

/// An Ogg file with the two headers of RFC 7845, section 5.
fn opus_file(file: BufWriter<File>) -> io::Result<PacketWriter<'static, BufWriter<File>>> {
    let mut writer = PacketWriter::new(file);
    let mut head = b"OpusHead\x01\x02".to_vec();
    // Pre-skip: a decoder's start in the middle of a stream is no silence to be cut.
    head.extend_from_slice(&0u16.to_le_bytes());
    head.extend_from_slice(&(OPUS_RATE as u32).to_le_bytes());
    // Output gain, and the channel mapping family of one stream.
    head.extend_from_slice(&[0, 0, 0]);
    writer.write_packet(head, 0, PacketWriteEndInfo::EndPage, 0)?;
    let vendor = concat!("livekit-room ", env!("CARGO_PKG_VERSION")).as_bytes();
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
    tags.extend_from_slice(vendor);
    tags.extend_from_slice(&0u32.to_le_bytes());
    writer.write_packet(tags, 0, PacketWriteEndInfo::EndPage, 0)?;
    Ok(writer)
}
