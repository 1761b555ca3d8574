#!/usr/bin/env bash
# Records a LiveKit room as AV1 and AAC, in an mp4 that plays even when it is cut off.
#
#   pipelines/launch/record-av1.sh WHERE FILE.mp4 [PROPERTY=VALUE…]
#   SIZE=640x360 pipelines/launch/record-av1.sh WHERE FILE.mp4
#
# 720p at 30 frames a second takes a whole core. SIZE fixes the size of the pictures, ENCODER is
# another encoder with its options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE.mp4 "$@"
new_file
# av1enc's default max-quantizer of 0 means lossless, and aborts the process with end-usage=cbr.
first_of \
    "svtav1enc preset=12 target-bitrate=2000 intra-period-length=60" \
    "av1enc usage-profile=realtime end-usage=cbr max-quantizer=58 lag-in-frames=0 cpu-used=10 row-mt=true threads=2 keyframe-max-dist=60 target-bitrate=2000" \
    "rav1enc speed-preset=10 low-latency=true bitrate=2000000 max-key-frame-interval=60 tiles=4"
av1=("${encoder[@]}")
aac_encoder
run "${source[@]}" \
    mp4mux name=mux fragment-mode=first-moov-then-finalise fragment-duration=1000 ! \
    filesink location="$(quoted "$output")" async=false \
    room.video_0 ! "${lag[@]}" ! "${pictures[@]}" ! "${av1[@]}" ! av1parse ! queue ! mux. \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! "${aac[@]}" ! queue ! mux.
