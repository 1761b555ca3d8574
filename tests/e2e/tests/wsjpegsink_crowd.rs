//! Many viewers of one `wsjpegsink`, some of which stop reading.

use gst::prelude::*;
use haven_e2e::{JpegSink, Result, SinkClient, is_long_form, may_be_missing, measured_seconds};
use haven_rig::within;
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::sleep,
};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// So long the element waits for one that takes nothing.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3);
/// What the process may grow by while everything runs: thread stacks, the allocator's reserves. A
/// viewer that stopped reading misses a hundred megabytes of pictures meanwhile.
const MAY_GROW_BYTES: u64 = 24 << 20;

/// Two crowds at once are too much for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A viewer that reads.
type Reader = JoinHandle<Result<Counted>>;

/// What a viewer got.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    pictures: u64,
    /// The close code, where one came.
    close: Option<u16>,
}

/// Opens a WebSocket by hand: a thousand of a library's buffers would be what is measured.
async fn open(sink: &JpegSink) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(sink.port())?)).await?;
    let request = "GET /ws?audio=off HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                   Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(stream),
        false => Err(String::from_utf8_lossy(&head).into()),
    }
}

/// Reads messages until the server closes, and answers pings.
async fn read(mut stream: TcpStream) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut space = vec![0; 64 << 10];
    loop {
        let first = stream.read_u8().await?;
        let length = match stream.read_u8().await? {
            126 => stream.read_u16().await?.into(),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        let mut left = usize::try_from(length)?;
        let mut payload = 0..0;
        while left > 0 {
            let part = left.min(space.len());
            stream.read_exact(&mut space[..part]).await?;
            payload = 0..part;
            left -= part;
        }
        match first {
            0x82 => counted.pictures += 1,
            0x89 => stream.write_all(&[0x8A, 0x80, 0, 0, 0, 0]).await?,
            0x88 => {
                counted.close = match space[payload] {
                    [high, low, ..] => Some(u16::from_be_bytes([high, low])),
                    _ => None,
                };
                stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await?;
                return Ok(counted);
            }
            _ => {}
        }
    }
}

/// Bytes of memory that this process uses.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes.ok_or("no VmRSS")?.parse::<u64>()? << 10)
}

/// Waits until something is true of the sink.
async fn until(what: &str, sink: &JpegSink, is: impl Fn(&JpegSink) -> Result<bool>) -> Result {
    within(what, LIMIT, async {
        while !is(sink)? {
            sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })
    .await?
}

/// Those who watch one sink; each tenth never reads.
struct Crowd {
    sink: JpegSink,
    readers: BTreeMap<String, Reader>,
    stuck: Vec<TcpStream>,
}

/// The process's memory at two moments between which all is steady.
struct Memory {
    before: u64,
    after: u64,
}

impl Crowd {
    /// Gathers before the first picture is let through.
    async fn gather(video: &str, viewers: usize) -> Result<Self> {
        let timeout = CLIENT_TIMEOUT.as_millis();
        let sink = JpegSink::play(&format!(
            "videotestsrc is-live=true pattern=ball background-color=0xff305070 ! {video} \
             ! valve name=valve drop=true ! timeoverlay font-desc=80 ! jpegenc name=encoder \
             ! wsjpegsink name=sink async=false qos=false max-lateness=-1 client-timeout={timeout}"
        ))?;
        let mut crowd = Self {
            sink,
            readers: BTreeMap::new(),
            stuck: Vec::new(),
        };
        for number in 0..viewers {
            let stream = open(&crowd.sink).await?;
            if number % 10 == 9 {
                crowd.stuck.push(stream);
                continue;
            }
            let address = stream.local_addr()?.to_string();
            crowd.readers.insert(address, tokio::spawn(read(stream)));
        }
        until("all clients", &crowd.sink, |sink| {
            Ok(sink.clients()?.len() == viewers)
        })
        .await?;
        Ok(crowd)
    }

    /// Shows pictures until those who don't read are dropped, and then for the measured time.
    async fn watch(&self) -> Result<Memory> {
        let valve = self.sink.part("valve")?;
        let begin = Instant::now();
        valve.set_property("drop", false);
        until("the end of those who don't read", &self.sink, |sink| {
            Ok(sink.clients()?.len() == self.readers.len())
        })
        .await?;
        let dropped_after = begin.elapsed();
        println!("who did not read was dropped after {dropped_after:.1?}");
        assert!(dropped_after >= CLIENT_TIMEOUT, "{dropped_after:?}");
        let before = resident_bytes()?;
        sleep(measured_seconds().mul_f64(0.4)).await;
        let after = resident_bytes()?;
        close(&valve).await?;
        // What was let through is sent, or passed over.
        until("the last picture", &self.sink, |sink| {
            let shown = sink.counter("frames-published")?;
            let clients = sink.clients()?;
            let settled = |client: &SinkClient| client.frames_sent + client.frames_skipped == shown;
            Ok(clients.iter().all(settled))
        })
        .await?;
        Ok(Memory { before, after })
    }
}

/// Closes a valve. All in the pipeline is one thread's: when the next picture is offered to the
/// valve, what was let through has reached the sink.
async fn close(valve: &gst::Element) -> Result {
    let (offer, mut offered) = mpsc::channel(1);
    let pad = valve.static_pad("sink").ok_or("the valve has no pad")?;
    valve.set_property("drop", true);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        _ = offer.try_send(());
        gst::PadProbeReturn::Remove
    });
    within("the picture after the last", LIMIT, offered.recv()).await?;
    Ok(())
}

async fn crowd(video: &str, viewers: usize) -> Result {
    let _alone = ONE_AT_A_TIME.lock().await;
    let crowd = Crowd::gather(video, viewers).await?;
    let Memory { before, after } = crowd.watch().await?;
    let sink = &crowd.sink;
    let shown = sink.counter("frames-published")?;
    let built = sink.counter("messages-built")?;
    let clients = sink.clients()?;
    let skipped: u64 = clients.iter().map(|client| client.frames_skipped).sum();
    println!(
        "{viewers} viewers of {video}: {shown} pictures encoded once, {built} messages, {:.0} MB sent, \
         {skipped} skipped by those who read; memory {} MB, then {} MB",
        sink.counter("bytes-sent")? as f64 / 1e6,
        before >> 20,
        after >> 20,
    );
    assert_eq!(sink.encoded(), shown);
    // One for each picture, but for those that nobody had time for.
    assert!(built <= shown && (built == shown || skipped > 0), "{built}");
    let grown = after.saturating_sub(before);
    assert!(grown < MAY_GROW_BYTES, "{before} became {after}");
    for client in &clients {
        let may_skip = match is_long_form() {
            true => 0,
            false => may_be_missing(shown),
        };
        assert!(client.frames_skipped <= may_skip, "{client:?}");
    }
    assert_ends(crowd.sink, crowd.readers, &clients).await?;
    for mut stream in crowd.stuck {
        assert_reset(&mut stream).await?;
    }
    Ok(())
}

/// Everybody who read has every picture that the element says it sent, and a proper end.
async fn assert_ends(
    sink: JpegSink,
    readers: BTreeMap<String, Reader>,
    clients: &[SinkClient],
) -> Result {
    let stop = tokio::task::spawn_blocking(move || sink.stop());
    for (address, reader) in readers {
        let counted = within("a viewer's end", LIMIT, reader).await???;
        let client = clients.iter().find(|client| client.address == address);
        let client = client.ok_or("a viewer the element doesn't know")?;
        assert_eq!(counted.pictures, client.frames_sent, "{client:?}");
        assert_eq!(counted.close, Some(1001));
    }
    stop.await?
}

/// A connection that was given up is reset, so that the kernel keeps nothing for it.
async fn assert_reset(stream: &mut TcpStream) -> Result {
    let mut space = vec![0; 64 << 10];
    loop {
        match stream.read(&mut space).await {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Ok(0) => return Err("closed as if all had been delivered".into()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_viewers_of_720p30_get_every_picture() -> Result {
    crowd("video/x-raw,width=1280,height=720,framerate=30/1", 50).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_viewers_of_360p15_get_every_picture() -> Result {
    crowd("video/x-raw,width=640,height=360,framerate=15/1", 300).await
}
