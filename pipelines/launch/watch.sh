#!/bin/sh
# Shows a LiveKit room to browsers: JPEG pictures and PCM sound over WebSocket.
#
#   pipelines/launch/watch.sh url=ws://127.0.0.1:7880 token=…
#   PORT=8090 pipelines/launch/watch.sh mint-id=…
#
# The arguments are livekitsrc's properties. Open http://127.0.0.1:$PORT/ (8090) to watch.
# GST_PLUGIN_PATH names the folder with libgstlivekitsrc.so and libgstwsjpegsink.so.
set -eu
if [ $# -eq 0 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
exec gst-launch-1.0 -e livekitsrc name=room "$@" \
    wsjpegsink name=viewers port="${PORT:-8090}" async=false \
    room.video_0 ! queue leaky=downstream ! videoconvert ! jpegenc quality=85 ! viewers.sink \
    room.audio_0 ! queue leaky=downstream ! audioconvert ! audioresample ! \
    audio/x-raw,format=S16LE,rate=44100,channels=1 ! viewers.audio
