#!/usr/bin/env bash
# Records a LiveKit room as VP9 and Opus, in a WebM file.
#
#   pipelines/launch/record-vp9.sh WHERE FILE.webm [PROPERTY=VALUE…]
#   SIZE=1280x720 pipelines/launch/record-vp9.sh WHERE FILE.webm
#
# SIZE fixes the size of the pictures, ENCODER is another encoder with its options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE.webm "$@"
new_file
need opusenc webmmux
first_of "vp9enc deadline=1 cpu-used=8 end-usage=cbr lag-in-frames=0 row-mt=true threads=2 keyframe-max-dist=60 target-bitrate=2000000"
run "${source[@]}" \
    webmmux name=mux ! filesink location="$(quoted "$output")" async=false \
    room.video_0 ! "${lag[@]}" ! "${pictures[@]}" ! "${encoder[@]}" ! queue ! mux. \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! opusenc bitrate=128000 ! queue ! mux.
