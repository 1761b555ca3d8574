#!/usr/bin/env bash
# Records the sound of a LiveKit room, as a WAV file of 48,000 samples a second in stereo.
#
#   pipelines/launch/record-wav.sh WHERE FILE.wav [PROPERTY=VALUE…]
#   pipelines/launch/record-wav.sh WHERE FILE.wav audio-mode=mix
#
# audio-mode=mix records everybody who speaks, not the streamer alone.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE.wav "$@"
new_file
need wavenc
run "${source[@]}" \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! audio/x-raw,format=S16LE,rate=48000,channels=2 ! \
    wavenc ! filesink location="$(quoted "$output")" async=false
