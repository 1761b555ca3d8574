#!/bin/sh
# Records a LiveKit room as H.264 and AAC, in an mp4 that plays even when it is cut off.
#
#   pipelines/launch/record-h264.sh FILE.mp4 url=ws://127.0.0.1:7880 token=…
#   pipelines/launch/record-h264.sh FILE.mp4 mint-id=…
#
# The arguments after the file are livekitsrc's properties. Ctrl-C ends the recording.
# GST_PLUGIN_PATH names the folder with libgstlivekitsrc.so. The encoders are those of the format
# h264 in formats.toml, at medium quality.
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
file=$1
shift
if [ -e "$file" ]; then
    echo "$file exists already" >&2
    exit 1
fi
exec gst-launch-1.0 -e livekitsrc name=room "$@" \
    mp4mux name=mux fragment-mode=first-moov-then-finalise fragment-duration=1000 ! \
    filesink location="$file" async=false \
    room.video_0 ! queue max-size-bytes=0 max-size-buffers=0 max-size-time=2000000000 ! \
    videoconvert ! x264enc tune=zerolatency speed-preset=superfast bitrate=2000 key-int-max=30 ! \
    h264parse ! video/x-h264,stream-format=avc,alignment=au ! queue ! mux. \
    room.audio_0 ! queue max-size-bytes=0 max-size-buffers=0 max-size-time=2000000000 ! \
    audioconvert ! audioresample ! avenc_aac bitrate=128000 ! aacparse ! queue ! mux.
