# shellcheck shell=bash
# Sourced by the scripts beside it: their arguments, and what their pipelines have in common.
#
# A script begins with a comment that is its --help, sources this file, and calls
# `arguments OUTPUT "$@"`. After that these are set:
#   source  livekitsrc, named `room`, with its properties; an array
#   output  the second argument

set -euo pipefail

# usage: prints the comment that the script begins with.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    cat <<'END'

WHERE is one of
  MINT                      a coin's livestream, also as pumpfun://MINT
  ws://HOST:PORT token=JWT  a room of a LiveKit server (wss:// with TLS), by a token, or by
                            api-key=KEY api-secret=SECRET room=ROOM in place of it

Further PROPERTY=VALUE are properties of livekitsrc (gst-inspect-1.0 livekitsrc lists them).
Ctrl-C ends it and finishes what is being written. GST_PLUGIN_PATH names the folder of the plugins
where they aren't installed.
END
}

# fail WORD…: ends the script with a sentence.
fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# wrong WORD…: ends the script because of its arguments.
wrong() {
    echo "${0##*/}: $*; --help tells more" >&2
    exit 2
}

# arguments OUTPUT ARGUMENT…: reads a script's arguments. OUTPUT is what its help calls the second
# one, empty for a script without.
arguments() {
    local needs=$1
    shift
    if [[ ${1-} == --help || ${1-} == -h ]]; then
        usage
        exit 0
    fi
    [[ $# -ge 1 ]] || wrong "WHERE is missing"
    case $1 in
        ws://* | wss://*) source=(livekitsrc name=room "url=$(quoted "$1")") ;;
        pumpfun://*) source=(livekitsrc name=room "mint-id=$(quoted "${1#pumpfun://}")") ;;
        *[!A-Za-z0-9]* | "") wrong "$1 is neither a mint nor ws://…" ;;
        *) source=(livekitsrc name=room "mint-id=$1") ;;
    esac
    shift
    output=
    if [[ -n $needs ]]; then
        [[ $# -ge 1 && $1 != "" ]] || wrong "$needs is missing"
        output=$1
        shift
    fi
    local property
    for property in "$@"; do
        [[ $property =~ ^[a-z][a-z0-9-]*= ]] || wrong "$property is no PROPERTY=VALUE"
        source+=("${property%%=*}=$(quoted "${property#*=}")")
    done
    command -v gst-launch-1.0 >/dev/null || fail "gst-launch-1.0 is missing (package gstreamer1.0-tools)"
    need livekitsrc
}

# new_file: makes sure that the output is a file that can be made.
new_file() {
    [[ ! -e $output ]] || fail "$output exists already"
    [[ -d $(dirname -- "$output") ]] || fail "the folder $(dirname -- "$output") is missing"
}

# quoted WORD: the word as a value in gst-launch's syntax.
quoted() {
    local word=${1//\\/\\\\}
    printf '"%s"' "${word//\"/\\\"}"
}

# installed ELEMENT: whether it is. Without the version, gst-inspect asks for one as new as GStreamer.
installed() {
    gst-inspect-1.0 --exists --atleast-version=0.0 "$1"
}

# need ELEMENT…: ends the script if one isn't installed.
need() {
    local element
    for element in "$@"; do
        installed "$element" || fail "the element $element is not installed"
    done
}

# first_of "ELEMENT OPTION…"…: the first of these that is installed, split into words in `encoder`;
# ENCODER in the environment comes before all.
first_of() {
    local text
    for text in ${ENCODER:+"$ENCODER"} "$@"; do
        if installed "${text%% *}"; then
            read -ra encoder <<<"$text"
            return
        fi
    done
    fail "none of these encoders is installed:$(printf ' %s' "${@%% *}")"
}

# Encoders of AAC, the best first; 128 kbit/s.
aac_encoder() {
    ENCODER='' first_of "fdkaacenc bitrate=128000" "avenc_aac bitrate=128000" "voaacenc bitrate=128000"
    # shellcheck disable=SC2034 # used by the scripts
    aac=("${encoder[@]}" ! aacparse)
}

# h264_encoder FRAMES: H.264 for live use, 2 Mbit/s, a key frame at least every so many frames.
h264_encoder() {
    local interval=$1
    first_of \
        "x264enc tune=zerolatency speed-preset=superfast bitrate=2000 vbv-buf-capacity=1000 key-int-max=$interval bframes=0" \
        "openh264enc bitrate=2000000 max-bitrate=2000000 rate-control=bitrate gop-size=$interval complexity=low"
    # shellcheck disable=SC2034
    h264=("${encoder[@]}" ! h264parse)
}

# A queue in which an encoder may lag behind for two seconds, before it holds up the room.
# shellcheck disable=SC2034 # used by the scripts
lag=(queue max-size-bytes=0 max-size-buffers=0 max-size-time=2000000000)
# A queue that drops what is late: for what is watched now.
# shellcheck disable=SC2034
live=(queue leaky=downstream max-size-time=200000000 max-size-bytes=0 max-size-buffers=0)

# Pictures as encoders take them. With SIZE=1280x720, all of one size, with borders where the
# publisher's differs: without it, a file ends where the publisher changes its size.
pictures=(videoconvertscale add-borders=true)
if [[ -n ${SIZE-} ]]; then
    [[ $SIZE =~ ^([0-9]+)x([0-9]+)$ ]] || wrong "SIZE=$SIZE is no WIDTHxHEIGHT"
    pictures+=(! "video/x-raw,width=${BASH_REMATCH[1]},height=${BASH_REMATCH[2]},pixel-aspect-ratio=1/1")
fi
# Sound without holes: silence where the publisher sent none.
# shellcheck disable=SC2034
sound=(audioconvert ! audioresample ! audiorate skip-to-first=true)

# run ELEMENT…: becomes gst-launch, which on Ctrl-C lets everything come to its end.
run() {
    exec gst-launch-1.0 -e "$@"
}
