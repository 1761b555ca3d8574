#!/usr/bin/env bash
# Makes a contact sheet of a LiveKit room: thumbnails of now and then on one JPEG.
#
#   pipelines/launch/contact-sheet.sh WHERE FILE.jpg [PROPERTY=VALUE…]
#   EVERY=10 COLUMNS=4 ROWS=3 WIDTH=320 pipelines/launch/contact-sheet.sh WHERE FILE.jpg
#
# A thumbnail EVERY so many seconds (10), WIDTH (320) pixels wide, in COLUMNS (4) and ROWS (3). Ctrl-C
# makes the sheet of those that were taken until then.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
arguments FILE.jpg "$@"
new_file
need jpegenc jpegdec compositor videorate multifilesink
every=${EVERY:-10} columns=${COLUMNS:-4} rows=${ROWS:-3} width=${WIDTH:-320}
for number in "$every" "$columns" "$rows" "$width"; do
    [[ $number =~ ^[1-9][0-9]{0,4}$ ]] || wrong "$number is no number from 1 to 99999"
done
height=$((width * 9 / 16))
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

# In the background, so that the sheet is made after Ctrl-C too.
gst-launch-1.0 -e "${source[@]}" \
    room.video_0 ! "${live[@]}" ! videorate ! "video/x-raw,framerate=1/$every" ! \
    videoconvertscale add-borders=true ! \
    "video/x-raw,width=$width,height=$height,pixel-aspect-ratio=1/1" ! \
    identity eos-after=$((columns * rows)) ! jpegenc quality=85 ! \
    multifilesink location="$(quoted "$folder/%05d.jpg")" async=false &
taking=$!
trap 'kill -INT "$taking" 2>/dev/null || true' INT TERM
status=0
while kill -0 "$taking" 2>/dev/null; do
    wait "$taking" || status=$?
done
trap - INT TERM

shopt -s nullglob
thumbnails=("$folder"/*.jpg)
[[ ${#thumbnails[@]} -gt 0 ]] || fail "no picture was taken (gst-launch ended with $status)"
places=() inputs=()
for index in "${!thumbnails[@]}"; do
    row=$((index / columns))
    places+=("sink_$index::xpos=$((index % columns * width))" "sink_$index::ypos=$((row * height))")
    inputs+=(filesrc location="$(quoted "${thumbnails[index]}")" ! jpegdec ! "sheet.sink_$index")
done
gst-launch-1.0 -q compositor name=sheet background=black "${places[@]}" ! \
    videoconvert ! jpegenc quality=85 ! filesink location="$(quoted "$output")" "${inputs[@]}"
