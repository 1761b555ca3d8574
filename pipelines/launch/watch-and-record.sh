#!/usr/bin/env bash
# Shows a LiveKit room to browsers, and records it as H.264 and AAC from the same decoder.
#
#   pipelines/launch/watch-and-record.sh WHERE FILE.mp4 [PROPERTY=VALUE…]
#   PORT=8090 SIZE=1280x720 pipelines/launch/watch-and-record.sh WHERE FILE.mp4
#
# Open http://127.0.0.1:8090/ to watch; PORT is another port. SIZE fixes the size of the pictures,
# ENCODER is another encoder with its options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE.mp4 "$@"
new_file
need wsjpegsink jpegenc
h264_encoder 60
aac_encoder
run "${source[@]}" \
    wsjpegsink name=viewers "port=${PORT:-8090}" async=false \
    mp4mux name=mux fragment-mode=first-moov-then-finalise fragment-duration=1000 ! \
    filesink location="$(quoted "$output")" async=false \
    room.video_0 ! "${pictures[@]}" ! tee name=video \
    room.audio_0 ! "${sound[@]}" ! tee name=audio \
    video. ! "${live[@]}" ! jpegenc quality=85 ! viewers.sink \
    audio. ! "${live[@]}" ! audioconvert ! audioresample ! \
    audio/x-raw,format=S16LE,rate=44100,channels=1 ! viewers.audio \
    video. ! "${lag[@]}" ! "${h264[@]}" ! queue ! mux. \
    audio. ! "${lag[@]}" ! "${aac[@]}" ! queue ! mux.
