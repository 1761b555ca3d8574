#!/usr/bin/env bash
# Shows a LiveKit room to browsers: JPEG pictures and PCM sound over WebSocket.
#
#   pipelines/launch/watch.sh WHERE [PROPERTY=VALUE…]
#   PORT=8090 pipelines/launch/watch.sh WHERE
#
# Open http://127.0.0.1:8090/ to watch; PORT is another port.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments "" "$@"
need wsjpegsink jpegenc
run "${source[@]}" wsjpegsink name=viewers "port=${PORT:-8090}" async=false \
    room.video_0 ! "${live[@]}" ! "${pictures[@]}" ! jpegenc quality=85 ! viewers.sink \
    room.audio_0 ! "${live[@]}" ! audioconvert ! audioresample ! \
    audio/x-raw,format=S16LE,rate=44100,channels=1 ! viewers.audio
