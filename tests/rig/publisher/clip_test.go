package main

import (
	"bytes"
	"testing"

	"github.com/pion/webrtc/v4"
)

func TestPicturesAreCutBehindTheirOnlySlice(t *testing.T) {
	parameterSets := []byte{0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3}
	keyFrame := append(parameterSets, 0, 0, 1, 0x65, 9, 9)
	frame := []byte{0, 0, 0, 1, 0x41, 7, 7, 7}
	clip, err := parseAnnexB(append(append([]byte{}, keyFrame...), frame...))
	if err != nil {
		t.Fatal(err)
	}
	if len(clip.frames) != 2 || !bytes.HasSuffix(clip.frames[0], []byte{0x65, 9, 9}) {
		t.Fatalf("got %x", clip.frames)
	}
	if !bytes.HasSuffix(clip.frames[1], frame[1:]) {
		t.Fatalf("got %x", clip.frames[1])
	}
}

func TestAnIVFFileIsCutIntoItsFrames(t *testing.T) {
	file := append([]byte("DKIF\x00\x00\x20\x00VP80"), make([]byte, 20)...)
	for _, frame := range []string{"abc", "defgh"} {
		file = append(file, byte(len(frame)), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		file = append(file, frame...)
	}
	clip, err := parseIVF(file)
	if err != nil {
		t.Fatal(err)
	}
	if clip.mimeType != webrtc.MimeTypeVP8 || len(clip.frames) != 2 || string(clip.frames[1]) != "defgh" {
		t.Fatalf("got %q", clip.frames)
	}
	for length := range len(file) - 1 {
		if _, err := parseIVF(file[:length]); err == nil && length != len(file)-17 {
			t.Fatalf("a file cut at %d bytes was taken", length)
		}
	}
}

func TestAPacketMayReachOverTwoPages(t *testing.T) {
	page := func(lengths []byte, body []byte) []byte {
		header := append([]byte("OggS"), make([]byte, 22)...)
		return append(append(append(header, byte(len(lengths))), lengths...), body...)
	}
	head := append([]byte("OpusHead\x01\x02"), 0x38, 0x01, 0, 0, 0, 0, 0, 0, 0)
	long := bytes.Repeat([]byte{5}, 300)
	file := page([]byte{byte(len(head))}, head)
	file = append(file, page([]byte{3, 255}, append([]byte{1, 2, 3}, long[:255]...))...)
	file = append(file, page([]byte{45}, long[255:])...)
	clip, err := parseOggOpus(file)
	if err != nil {
		t.Fatal(err)
	}
	if clip.preSkip != 312 || len(clip.packets) != 2 || !bytes.Equal(clip.packets[1], long) {
		t.Fatalf("got %d, %v", clip.preSkip, clip.packets)
	}
}
