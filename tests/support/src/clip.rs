use crate::{
    error::{Result, RigError},
    paths, picture,
    process::{self, Child},
    sound,
};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command};

/// Part of the cache's key: raised when the picture, the sound or the encoder's options change.
const CLIP_VERSION: u32 = 1;
/// How long making a clip may take.
const ENCODE_LIMIT: Duration = Duration::from_secs(900);
/// Bit rate of the sound in kbit/s.
const AUDIO_KBPS: u32 = 64;

/// A video codec of the pre-encoded clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// H.264, constrained baseline.
    #[default]
    H264,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
}

/// Which clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipSpec {
    /// Video codec.
    pub codec: Codec,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Length in whole seconds, so that a loop has no seam in the tone.
    pub seconds: u32,
    /// Bit rate of the video in kbit/s.
    pub video_kbps: u32,
}

impl Default for ClipSpec {
    /// 720p30 H.264 at 1.5 Mbit/s, longer than a test of one minute needs.
    fn default() -> Self {
        Self {
            codec: Codec::H264,
            width: 1280,
            height: 720,
            fps: 30,
            seconds: 80,
            video_kbps: 1500,
        }
    }
}

impl ClipSpec {
    /// 360p, for many rooms at once and for quick tests.
    pub fn small(codec: Codec, seconds: u32) -> Self {
        Self {
            codec,
            width: 640,
            height: 360,
            seconds,
            video_kbps: 500,
            ..Self::default()
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.fps * self.seconds
    }

    fn name(&self) -> String {
        let Self {
            width,
            height,
            fps,
            seconds,
            video_kbps,
            ..
        } = self;
        let codec = format!("{:?}", self.codec).to_lowercase();
        format!("clip-v{CLIP_VERSION}-{codec}-{width}x{height}-{fps}fps-{seconds}s-{video_kbps}k")
    }
}

/// A clip in the rig's cache: test picture and test sound, encoded.
#[derive(Clone, Debug)]
pub struct Clip {
    /// What it is.
    pub spec: ClipSpec,
    /// The video: a byte stream (`.h264`, one slice a picture) or IVF (`.ivf`). A key frame each second,
    /// no B-frames.
    pub video: PathBuf,
    /// The sound: Opus, 48 kHz stereo, in Ogg, packets of 20 ms.
    pub audio: PathBuf,
}

impl Clip {
    /// Takes the clip from the cache, or makes it; some seconds for each minute of it.
    ///
    /// # Errors
    /// When ffmpeg is missing or fails.
    pub async fn get(spec: ClipSpec) -> Result<Self> {
        let extension = if spec.codec == Codec::H264 {
            "h264"
        } else {
            "ivf"
        };
        let name = format!("{}.{extension}", spec.name());
        let video = paths::cached(&name, &name, async |file: &Path| {
            encode_video(spec, file).await
        })
        .await?;
        let name = format!("sound-v{CLIP_VERSION}-{}s.ogg", spec.seconds);
        let audio = paths::cached(&name, &name, async |file: &Path| {
            encode_opus(sound::pcm(48_000, 2, f64::from(spec.seconds)), file).await
        })
        .await?;
        Ok(Self { spec, video, audio })
    }

    /// Writes picture and sound into one NUT file, untouched and in step. (In FFmpeg 5.1 Matroska and
    /// MPEG-TS lose the encoder's delay of the sound, 6.5 ms.)
    ///
    /// # Errors
    /// When ffmpeg fails.
    pub async fn mux(&self, file: &Path) -> Result<()> {
        let mut command = ffmpeg()?;
        if self.spec.codec == Codec::H264 {
            // A byte stream has no times of its own.
            command.args(["-framerate", &self.spec.fps.to_string()]);
        }
        command.arg("-i").arg(&self.video);
        command.arg("-i").arg(&self.audio);
        command.args(["-c", "copy", "-f", "nut"]).arg(file);
        process::output("ffmpeg (muxing the clip)", command, ENCODE_LIMIT).await?;
        Ok(())
    }
}

/// ffmpeg, quiet but for errors, overwriting.
pub(crate) fn ffmpeg() -> Result<Command> {
    let mut command = Command::new(paths::tool("ffmpeg")?);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]);
    Ok(command)
}

async fn encode_video(spec: ClipSpec, file: &Path) -> Result<()> {
    let (rate, key_interval) = (format!("{}k", spec.video_kbps), spec.fps.to_string());
    let mut command = ffmpeg()?;
    command.args([
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-r",
        &key_interval,
        "-s",
    ]);
    command
        .arg(format!("{}x{}", spec.width, spec.height))
        .args(["-i", "pipe:0"]);
    command.args([
        "-b:v",
        &rate,
        "-maxrate",
        &rate,
        "-bufsize",
        &rate,
        "-g",
        &key_interval,
    ]);
    match spec.codec {
        // A file can't answer a request for a key frame, so there is one each second; one slice a
        // picture, since the publisher cuts the stream behind each slice.
        Codec::H264 => command.args([
            "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "baseline",
            "-x264-params", &format!("keyint={0}:min-keyint={0}:scenecut=0:sliced-threads=0:slices=1:bframes=0:repeat-headers=1", spec.fps),
            "-f", "h264",
        ]),
        Codec::Vp8 => command.args([
            "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0",
            "-auto-alt-ref", "0", "-error-resilient", "1", "-keyint_min", &key_interval, "-f", "ivf",
        ]),
        Codec::Vp9 => command.args([
            "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1",
            "-lag-in-frames", "0", "-auto-alt-ref", "0", "-error-resilient", "1",
            "-keyint_min", &key_interval, "-f", "ivf",
        ]),
    };
    command.arg(file);
    let (width, height) = (spec.width as usize, spec.height as usize);
    let frames = (0..spec.frames()).map(move |number| {
        let mut frame = vec![0; width * height * 3 / 2];
        picture::draw(&mut frame, width, height, number, spec.fps);
        frame
    });
    feed("ffmpeg (encoding the picture)", command, frames).await
}

/// Name of a file of sound in the cache.
pub(crate) fn sound_name(what: &str) -> String {
    format!("{what}-v{CLIP_VERSION}.ogg")
}

/// Encodes S16LE stereo of 48 kHz as every clip's sound is.
pub(crate) async fn encode_opus(pcm: Vec<u8>, file: &Path) -> Result<()> {
    let mut command = ffmpeg()?;
    command.args(["-f", "s16le", "-ar", "48000", "-ac", "2", "-i", "pipe:0"]);
    command.args([
        "-c:a",
        "libopus",
        "-application",
        "audio",
        "-frame_duration",
        "20",
        "-vbr",
        "off",
    ]);
    command
        .args(["-b:a", &format!("{AUDIO_KBPS}k"), "-f", "ogg"])
        .arg(file);
    feed("ffmpeg (encoding the sound)", command, std::iter::once(pcm)).await
}

/// Runs an encoder over what `parts` yields.
async fn feed(
    name: &str,
    mut command: Command,
    parts: impl Iterator<Item = Vec<u8>>,
) -> Result<()> {
    let mut log = tempfile::tempfile().map_err(RigError::io("making a temporary file"))?;
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(
        log.try_clone()
            .map_err(RigError::io("making a temporary file"))?,
    );
    let mut encoder = Child::spawn(name, command)?;
    if let Some(mut pipe) = encoder.take_stdin() {
        for part in parts {
            // A broken pipe means that the encoder gave up; its exit says why.
            if pipe.write_all(&part).await.is_err() {
                break;
            }
        }
    }
    let status = encoder.wait(ENCODE_LIMIT).await?;
    if status.success() {
        return Ok(());
    }
    let mut stderr = String::new();
    std::io::Seek::rewind(&mut log)
        .and_then(|()| std::io::Read::read_to_string(&mut log, &mut stderr))
        .map_err(RigError::io("reading the encoder's log"))?;
    Err(RigError::Failed {
        program: name.into(),
        status,
        stderr: process::tail(&stderr).into(),
    })
}
