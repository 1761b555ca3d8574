#!/usr/bin/env bash
# Records a LiveKit room as H.264 and AAC, in an mp4 that plays even when it is cut off.
#
#   pipelines/launch/record-h264.sh WHERE FILE.mp4 [PROPERTY=VALUE…]
#   SIZE=1280x720 ENCODER="vah264enc bitrate=2000" pipelines/launch/record-h264.sh WHERE FILE.mp4
#
# SIZE fixes the size of the pictures, ENCODER is another encoder with its options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE.mp4 "$@"
new_file
h264_encoder 60
aac_encoder
run "${source[@]}" \
    mp4mux name=mux fragment-mode=first-moov-then-finalise fragment-duration=1000 ! \
    filesink location="$(quoted "$output")" async=false \
    room.video_0 ! "${lag[@]}" ! "${pictures[@]}" ! "${h264[@]}" ! queue ! mux. \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! "${aac[@]}" ! queue ! mux.
