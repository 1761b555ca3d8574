#!/usr/bin/env bash
# Sends a LiveKit room on to an RTMP server, as H.264 and AAC.
#
#   pipelines/launch/restream.sh WHERE rtmp://HOST/APPLICATION/KEY [PROPERTY=VALUE…]
#   SIZE=1280x720 pipelines/launch/restream.sh WHERE rtmps://HOST/APPLICATION/KEY
#
# SIZE fixes the size of the pictures, ENCODER is another encoder with its options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments rtmp://HOST/APPLICATION/KEY "$@"
[[ $output == rtmp://*/* || $output == rtmps://*/* ]] || wrong "$output is no rtmp:// address"
need flvmux rtmp2sink
h264_encoder 60
aac_encoder
run "${source[@]}" \
    flvmux name=mux streamable=true ! rtmp2sink location="$(quoted "$output")" async=false sync=false \
    room.video_0 ! "${lag[@]}" ! "${pictures[@]}" ! "${h264[@]}" ! queue ! mux. \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! audio/x-raw,rate=44100,channels=2 ! \
    "${aac[@]}" ! queue ! mux.
