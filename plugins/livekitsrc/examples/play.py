#!/usr/bin/python3
"""Plays a room: play.py pumpfun://MINT, or livekit://host:port/room?token=JWT [property=value …]"""
import signal, sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
signal.signal(signal.SIGINT, signal.SIG_DFL)
player = Gst.parse_launchv(["playbin3", "uri=" + sys.argv[1], *sys.argv[2:]])
player.set_state(Gst.State.PLAYING)
end = player.get_bus().timed_pop_filtered(
    Gst.CLOCK_TIME_NONE, Gst.MessageType.ERROR | Gst.MessageType.EOS)
player.set_state(Gst.State.NULL)
sys.exit(end.parse_error()[0].message if end.type == Gst.MessageType.ERROR else 0)
