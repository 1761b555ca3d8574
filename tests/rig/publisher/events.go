package main

import (
	"encoding/json"
	"os"
	"sync"
)

// event is one line on standard output. Fields that don't concern an event are left out.
type event struct {
	Event    string `json:"event"`
	Identity string `json:"identity,omitempty"`
	Kind     string `json:"kind,omitempty"`
	TrackSID string `json:"track_sid,omitempty"`
	Message  string `json:"message,omitempty"`
	*counts
}

// counts says what was handed to the network since the participant began.
type counts struct {
	// Frames handed over; muted, unpublished and disconnected ones aren't counted.
	VideoFrames  uint64 `json:"video_frames"`
	AudioPackets uint64 `json:"audio_packets"`
	// Number of the newest frame since the start, whether sent or not; the counter in the picture is
	// this modulo the clip's length.
	FrameNumber int64 `json:"frame_number"`
	// How far behind its time a frame or packet was at worst, in milliseconds.
	MaxLateMs float64 `json:"max_late_ms"`
}

// eventWriter writes whole lines, whoever calls.
type eventWriter struct {
	lock sync.Mutex
}

func (w *eventWriter) write(e event) {
	w.lock.Lock()
	defer w.lock.Unlock()
	// When standard output is gone, so is who asked: standard input ends as well.
	_ = json.NewEncoder(os.Stdout).Encode(e)
}
