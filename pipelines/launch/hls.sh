#!/usr/bin/env bash
# Writes a LiveKit room as HLS (H.264 and AAC in MPEG-TS), for a web server to hand out.
#
#   pipelines/launch/hls.sh WHERE FOLDER [PROPERTY=VALUE…]
#   SEGMENTS=5 pipelines/launch/hls.sh WHERE FOLDER
#
# The playlist is FOLDER/stream.m3u8, a segment two seconds. SEGMENTS of them stay, 0 (the default)
# keeps all: then the whole stream can be played once it has ended. SIZE=1280x720 fixes the size of
# the pictures, ENCODER is another encoder with its options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FOLDER "$@"
need hlssink2
# hlssink2 asks for a key frame where a segment begins. One of the encoder's own beside it would make
# a segment of a single frame.
h264_encoder 600
aac_encoder
segments=${SEGMENTS:-0}
[[ $segments =~ ^[0-9]+$ ]] || wrong "SEGMENTS=$segments is no number"
mkdir -p -- "$output"
[[ ! -e $output/stream.m3u8 ]] || fail "$output/stream.m3u8 exists already"
# Players may still load what has just left the playlist.
files=$((segments > 0 ? segments + 3 : 0))
run "${source[@]}" \
    hlssink2 name=hls target-duration=2 "playlist-length=$segments" "max-files=$files" \
    location="$(quoted "$output/segment%05d.ts")" \
    playlist-location="$(quoted "$output/stream.m3u8")" \
    room.video_0 ! "${lag[@]}" ! "${pictures[@]}" ! "${h264[@]}" ! queue ! hls.video \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! "${aac[@]}" ! queue ! hls.audio
