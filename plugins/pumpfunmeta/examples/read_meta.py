#!/usr/bin/python3
"""Prints the coin that frames carry: read_meta.py MINT [frames]"""
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
pipeline = Gst.parse_launch(
    "videotestsrc is-live=true ! pumpfunmeta name=meta ! videoconvert ! fakesink name=sink")
pipeline.get_by_name("meta").set_property("mint-id", sys.argv[1])
left = int(sys.argv[2]) if len(sys.argv) > 2 else 30


def on_buffer(pad, info):
    """Runs on a streaming thread."""
    global left
    meta = info.get_buffer().get_custom_meta("PumpFunCoinMeta")
    if not meta or left <= 0:
        return Gst.PadProbeReturn.OK  # nothing is known yet
    coin = meta.get_structure()
    print(", ".join(f"{field}={coin.get_value(field)}"
                    for field in ("name", "symbol", "market-cap-usd", "participants")
                    if coin.has_field(field)),
          "as of", coin.get_value("fetched-at").to_iso8601_string(), flush=True)
    left -= 1
    if left == 0:
        pipeline.send_event(Gst.Event.new_eos())
    return Gst.PadProbeReturn.OK


pipeline.get_by_name("sink").get_static_pad("sink").add_probe(
    Gst.PadProbeType.BUFFER, on_buffer)
pipeline.set_state(Gst.State.PLAYING)
end = pipeline.get_bus().timed_pop_filtered(
    Gst.CLOCK_TIME_NONE, Gst.MessageType.ERROR | Gst.MessageType.EOS)
pipeline.set_state(Gst.State.NULL)
sys.exit(end.parse_error()[0].message if end.type == Gst.MessageType.ERROR else 0)
