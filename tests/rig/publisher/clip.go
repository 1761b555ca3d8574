package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pion/webrtc/v4"
)

// Hz; the sampling rate of every Opus stream, whatever went in (RFC 7587, section 4.1).
const opusClockRate = 48000

// Samples in an Opus packet of 20 ms, the only length taken here.
const opusPacketSamples = 960

// videoClip is an encoded file in memory, one access unit per frame.
type videoClip struct {
	mimeType string
	frames   [][]byte
}

// audioClip is an Ogg Opus file in memory.
type audioClip struct {
	packets [][]byte
	// Samples that the encoder put before the first sample of the sound (RFC 7845, section 5.1).
	preSkip int
}

// clipCache holds each file once, however many participants send it.
type clipCache struct {
	video map[string]*videoClip
	audio map[string]*audioClip
}

func newClipCache() *clipCache {
	return &clipCache{video: map[string]*videoClip{}, audio: map[string]*audioClip{}}
}

func (c *clipCache) loadVideo(path string) (*videoClip, error) {
	if clip, known := c.video[path]; known {
		return clip, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var clip *videoClip
	if strings.HasSuffix(path, ".ivf") {
		clip, err = parseIVF(content)
	} else {
		clip, err = parseAnnexB(content)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.video[path] = clip
	return clip, nil
}

func (c *clipCache) loadAudio(path string) (*audioClip, error) {
	if clip, known := c.audio[path]; known {
		return clip, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	clip, err := parseOggOpus(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.audio[path] = clip
	return clip, nil
}

// parseAnnexB cuts an H.264 byte stream into access units. A picture must be one slice: then each
// slice (types 1 and 5) ends a unit, and what stands before it (parameter sets, SEI) belongs to it.
func parseAnnexB(stream []byte) (*videoClip, error) {
	clip := &videoClip{mimeType: webrtc.MimeTypeH264}
	startCode := []byte{0, 0, 1}
	unitStart := bytes.Index(stream, startCode)
	for position := unitStart; position >= 0 && position+3 < len(stream); {
		nalType := stream[position+3] & 0x1f
		next := bytes.Index(stream[position+3:], startCode)
		end := len(stream)
		if next >= 0 {
			next += position + 3
			end = next
			// The zero byte of a four-byte start code belongs to the next unit.
			if stream[end-1] == 0 {
				end--
			}
		}
		if nalType == 1 || nalType == 5 {
			clip.frames = append(clip.frames, stream[unitStart:end])
			unitStart = next
		}
		position = next
	}
	if len(clip.frames) == 0 {
		return nil, errors.New("holds no H.264 picture")
	}
	return clip, nil
}

// parseIVF reads the container of VP8 and VP9 (a header of 32 bytes, then for each frame its length,
// eight bytes of time stamp, and the frame).
func parseIVF(content []byte) (*videoClip, error) {
	if len(content) < 32 || string(content[:4]) != "DKIF" {
		return nil, errors.New("is no IVF file")
	}
	clip := &videoClip{}
	switch fourCC := string(content[8:12]); fourCC {
	case "VP80":
		clip.mimeType = webrtc.MimeTypeVP8
	case "VP90":
		clip.mimeType = webrtc.MimeTypeVP9
	default:
		return nil, fmt.Errorf("holds %q, which is neither VP8 nor VP9", fourCC)
	}
	headerLength := int(binary.LittleEndian.Uint16(content[6:8]))
	if headerLength > len(content) {
		return nil, errors.New("is cut off in the header")
	}
	for rest := content[headerLength:]; len(rest) > 0; {
		if len(rest) < 12 {
			return nil, errors.New("is cut off")
		}
		length := int(binary.LittleEndian.Uint32(rest))
		if length > len(rest)-12 {
			return nil, errors.New("is cut off in a frame")
		}
		clip.frames = append(clip.frames, rest[12:12+length])
		rest = rest[12+length:]
	}
	if len(clip.frames) == 0 {
		return nil, errors.New("holds no frame")
	}
	return clip, nil
}

// parseOggOpus takes the packets out of an Ogg file with one stream (RFC 3533: a page is a header of
// 27 bytes, a table of segment lengths, and the segments; a segment below 255 bytes ends a packet).
func parseOggOpus(content []byte) (*audioClip, error) {
	clip := &audioClip{}
	var packet []byte
	for rest := content; len(rest) > 0; {
		if len(rest) < 27 || string(rest[:4]) != "OggS" {
			return nil, errors.New("is no Ogg file, or cut off")
		}
		segments := int(rest[26])
		if len(rest) < 27+segments {
			return nil, errors.New("is cut off in a page header")
		}
		lengths := rest[27 : 27+segments]
		rest = rest[27+segments:]
		for _, length := range lengths {
			if int(length) > len(rest) {
				return nil, errors.New("is cut off in a page")
			}
			packet = append(packet, rest[:length]...)
			rest = rest[length:]
			if length < 255 {
				if err := clip.add(packet); err != nil {
					return nil, err
				}
				packet = nil
			}
		}
	}
	if len(clip.packets) == 0 {
		return nil, errors.New("holds no Opus packet")
	}
	return clip, nil
}

// add takes the next packet of the file: a header or sound.
func (c *audioClip) add(packet []byte) error {
	switch {
	case bytes.HasPrefix(packet, []byte("OpusHead")):
		if len(packet) < 12 {
			return errors.New("has a short header")
		}
		c.preSkip = int(binary.LittleEndian.Uint16(packet[10:12]))
	case bytes.HasPrefix(packet, []byte("OpusTags")):
	default:
		c.packets = append(c.packets, packet)
	}
	return nil
}
