"""Publishes the test picture and sound into a LiveKit room, drawn and encoded live.

The first line on standard input is the configuration, a JSON object with url, token, identity and, where
they differ from the defaults, codec, simulcast, scalability, dynacast, width, height, fps, bitrate, video, audio. Each further
line is a command: {"command": "mute" | "unmute" | "unpublish" | "republish", "kind": "video" | "audio"},
{"command": "codec", "codec": "vp8"}, {"command": "size", "width": 360, "height": 480},
{"command": "quit"}. Standard output carries events, one JSON object a line. It ends at "quit", at the end
of standard input, when the room ends, and on SIGTERM.
"""

import asyncio
import json
import signal
import sys
import time
from dataclasses import dataclass, fields

from livekit import rtc

from picture import Painter, sound

SAMPLE_RATE = 48_000
CHANNELS = 2
# The native source takes exactly 10 ms at a time when it has no queue of its own.
AUDIO_CHUNK = SAMPLE_RATE // 100


@dataclass
class Settings:
    url: str
    token: str
    identity: str
    codec: str = "h264"
    simulcast: bool = False
    # Layers of one scalable stream, as in "L3T3_KEY" (VP9 and AV1 only); empty: the encoder's choice.
    scalability: str = ""
    dynacast: bool = False
    width: int = 1280
    height: int = 720
    fps: int = 30
    bitrate: int = 1_500_000
    video: bool = True
    audio: bool = True

    @classmethod
    def parse(cls, line: str) -> "Settings":
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(line).items() if name in known})


class Publisher:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.room = rtc.Room()
        self.over = asyncio.Event()
        self.video_source: rtc.VideoSource | None = None
        self.audio_source: rtc.AudioSource | None = None
        self.publications: dict[str, rtc.LocalTrackPublication] = {}
        self.tracks: dict[str, rtc.LocalVideoTrack | rtc.LocalAudioTrack] = {}
        self.frames = 0
        self.skipped = 0
        self.frame_number = -1
        # Frames of publications that are over; the running one is asked for its statistics.
        self.sent_before = 0

    def report(self, event: str, **values: object) -> None:
        print(json.dumps({"event": event, "identity": self.settings.identity, **values}), flush=True)

    async def run(self) -> None:
        self.room.on("disconnected", self._disconnected)
        self.room.on("reconnecting", lambda: self.report("reconnecting"))
        self.room.on("reconnected", lambda: self.report("reconnected"))
        options = rtc.RoomOptions(
            auto_subscribe=False, dynacast=self.settings.dynacast, connect_timeout=20.0
        )
        await self.room.connect(self.settings.url, self.settings.token, options)
        kinds = [kind for kind in ("video", "audio") if getattr(self.settings, kind)]
        for kind in kinds:
            await self.publish(kind)
        self.report("started")
        start = time.monotonic() + 0.1
        loops = [self.send_video(start)] if "video" in kinds else []
        loops += [self.send_audio(start)] if "audio" in kinds else []
        tasks = [asyncio.create_task(work) for work in (*loops, self.obey(), self.progress())]
        stopped = asyncio.create_task(self.over.wait())
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self.over.set()
        # A loop that failed is the reason of the end; obey() ends with standard input.
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        self.report("finished", **await self.counts())
        await self.room.disconnect()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _disconnected(self, reason: object) -> None:
        self.report("disconnected", message=str(reason))
        self.over.set()

    async def publish(self, kind: str) -> None:
        settings = self.settings
        if kind == "video":
            self.video_source = rtc.VideoSource(settings.width, settings.height)
            track = rtc.LocalVideoTrack.create_video_track("video", self.video_source)
            options = rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA,
                video_codec=getattr(rtc.VideoCodec, settings.codec.upper()),
                video_encoding=rtc.VideoEncoding(max_bitrate=settings.bitrate, max_framerate=settings.fps),
                simulcast=settings.simulcast,
                degradation_preference=rtc.DegradationPreference.MAINTAIN_RESOLUTION,
            )
            if settings.scalability:
                options.scalability_mode = settings.scalability
        else:
            self.audio_source = rtc.AudioSource(SAMPLE_RATE, CHANNELS, queue_size_ms=0)
            track = rtc.LocalAudioTrack.create_audio_track("audio", self.audio_source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False)
        publication = await self.room.local_participant.publish_track(track, options)
        self.tracks[kind], self.publications[kind] = track, publication
        self.report("published", kind=kind, track_sid=publication.sid)

    async def unpublish(self, kind: str) -> None:
        if kind == "video":
            self.sent_before += await self.frames_sent()
            self.video_source = None
        else:
            self.audio_source = None
        del self.tracks[kind]
        await self.room.local_participant.unpublish_track(self.publications.pop(kind).sid)
        self.report("unpublished", kind=kind)

    async def send_video(self, start: float) -> None:
        """Frame n leaves at n / fps; a frame that is a whole interval late is skipped, as a camera does."""
        number = 0
        painter = None
        while not self.over.is_set():
            settings, source = self.settings, self.video_source
            size = (settings.width, settings.height, settings.fps)
            if painter is None or (painter.width, painter.height, painter.fps) != size:
                painter = Painter(*size)
            picture = await asyncio.to_thread(painter.draw, number)
            due = start + number / settings.fps
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - due > 1 / settings.fps:
                self.skipped += 1
            elif source is not None and source is self.video_source:
                frame = rtc.VideoFrame(painter.width, painter.height, rtc.VideoBufferType.I420, picture)
                source.capture_frame(frame, timestamp_us=int(due * 1_000_000))
                self.frames += 1
                self.frame_number = number
            number += 1

    async def send_audio(self, start: float) -> None:
        chunk = 0
        while not self.over.is_set():
            pcm = sound(chunk * AUDIO_CHUNK, AUDIO_CHUNK, SAMPLE_RATE, CHANNELS)
            await asyncio.sleep(max(0.0, start + chunk / 100 - time.monotonic()))
            if self.audio_source is not None:
                await self.audio_source.capture_frame(rtc.AudioFrame(pcm, SAMPLE_RATE, CHANNELS, AUDIO_CHUNK))
            chunk += 1

    async def frames_sent(self) -> int:
        """Frames that the encoder handed to the network, of all simulcast layers the largest."""
        track = self.tracks.get("video")
        if track is None:
            return 0
        counts = [
            stat.outbound_rtp.outbound.frames_sent
            for stat in await track.get_stats()
            if stat.WhichOneof("stats") == "outbound_rtp"
        ]
        return max(counts, default=0)

    async def counts(self) -> dict[str, int]:
        return {
            "video_frames": self.sent_before + await self.frames_sent(),
            "captured_frames": self.frames,
            "skipped_frames": self.skipped,
            "frame_number": self.frame_number,
        }

    async def progress(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.report("progress", **await self.counts())

    async def obey(self) -> None:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                command = json.loads(line)
                if command["command"] == "quit":
                    return
                await self.carry_out(command)
            except Exception as error:  # One bad command must not end the publication.
                self.report("error", message=f"{type(error).__name__}: {error}")

    async def carry_out(self, command: dict[str, object]) -> None:
        name, kind = command["command"], str(command.get("kind", "video"))
        if name in ("mute", "unmute"):
            getattr(self.tracks[kind], str(name))()
            self.report(f"{name}d", kind=kind)
        elif name == "unpublish":
            await self.unpublish(kind)
        elif name == "republish":
            if kind in self.tracks:
                await self.unpublish(kind)
            await self.publish(kind)
        elif name in ("codec", "size"):
            changes = ("codec",) if name == "codec" else ("width", "height")
            for change in changes:
                setattr(self.settings, change, command[change])
            if name == "codec":
                await self.unpublish("video")
                await self.publish("video")
            self.report("changed", kind=name)
        else:
            raise ValueError(f"unknown command {name!r}")


async def main() -> None:
    publisher = Publisher(Settings.parse(sys.stdin.readline()))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, publisher.over.set)
    await publisher.run()


if __name__ == "__main__":
    import os

    try:
        asyncio.run(main())
    except Exception as failure:
        print(f"publisher: {type(failure).__name__}: {failure}", file=sys.stderr)
        os._exit(1)
    # A thread may still wait for standard input; nothing is left to do.
    sys.stdout.flush()
    os._exit(0)
