#!/usr/bin/env bash
# Records a LiveKit room as it was published: nothing is decoded, whatever the codec.
#
#   pipelines/launch/record-source.sh WHERE FILE [PROPERTY=VALUE…]
#   CODEC=vp8 pipelines/launch/record-source.sh WHERE FILE.webm
#
# FILE is to end in .mp4 for H.264 and AV1, in .webm for VP8 and VP9, or in .mkv for any. The codec is
# found out by joining the room for a moment; CODEC (h264, vp8, vp9, av1) spares that. A publisher
# that changes its codec or size ends the file.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE "$@"
new_file
codec=${CODEC-}
if [[ -z $codec ]]; then
    # gst-launch -v prints the caps that pass.
    codec=$(timeout 60 gst-launch-1.0 -v "${source[@]}" room.video_0 ! identity eos-after=2 ! fakesink |
        sed -n 's|.*caps = video/x-\([a-z0-9]*\).*|\1|p' | head -n 1) || true
    [[ -n $codec ]] || fail "no video was published within a minute"
fi
case $codec in
    h264) parser=(h264parse) container=mp4 ;;
    av1) parser=(av1parse) container=mp4 ;;
    vp9) parser=(vp9parse) container=webm ;;
    vp8) parser=(identity) container=webm ;;
    *) fail "the codec $codec is none that can be recorded" ;;
esac
case ${output##*.} in
    mkv) muxer=(matroskamux) sound=(opusparse) ;;
    # mp4mux 1.22 writes the header that opusparse finds in a way that players leave out 0.3 s.
    mp4) muxer=(mp4mux fragment-mode=first-moov-then-finalise fragment-duration=1000) sound=(identity) ;;
    webm) muxer=(webmmux) sound=(opusparse) ;;
    *) fail "$output ends neither in .mp4 nor in .webm nor in .mkv" ;;
esac
[[ ${output##*.} == mkv || ${output##*.} == "$container" ]] ||
    fail "the publisher's $codec belongs into .$container or .mkv"
run "${source[@]}" "${muxer[@]}" name=mux ! filesink location="$(quoted "$output")" async=false \
    room.video_0 ! "${lag[@]}" ! "${parser[@]}" ! mux. \
    room.audio_0 ! "${lag[@]}" ! "${sound[@]}" ! mux.
