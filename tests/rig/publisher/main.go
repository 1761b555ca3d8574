// Command publisher sends pre-encoded clips into LiveKit rooms, each frame and packet at its time.
//
// The first line on standard input is the configuration (see config); tokens come only this way. Each
// further line is a command. Standard output carries events, one JSON object a line. It ends when all
// clips have ended, at "quit", at the end of standard input, and on SIGTERM or SIGINT.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

// Longest line taken on standard input: a configuration with hundreds of tokens fits.
const maxLineBytes = 4 << 20

type config struct {
	URL string `json:"url"`
	// Begin again when a clip ends, until told to quit.
	Loop         bool                `json:"loop"`
	Participants []participantConfig `json:"participants"`
}

// command is a line such as {"command":"mute","identity":"streamer","kind":"video"}; without an identity
// it is for everybody. Commands: mute, unmute, unpublish, republish (a video with "source":"screen_share" as
// the screen's), clip (goes on with the video at "path", of the same length), quit.
type command struct {
	Command  string `json:"command"`
	Identity string `json:"identity"`
	Kind     string `json:"kind"`
	Source   string `json:"source"`
	Path     string `json:"path"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "publisher:", err)
		os.Exit(1)
	}
}

func run() error {
	lksdk.SetLogger(logger.LogRLogger(logr.Discard()))
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLineBytes)
	if !lines.Scan() {
		return errors.New("no configuration on standard input")
	}
	var settings config
	if err := json.Unmarshal(lines.Bytes(), &settings); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	events := &eventWriter{}
	cache := newClipCache()
	var participants []*participant
	for _, one := range settings.Participants {
		p, err := newParticipant(one, cache, events, settings.Loop)
		if err != nil {
			return err
		}
		participants = append(participants, p)
	}
	endAll := func() {
		for _, p := range participants {
			p.end()
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-signals; endAll() }()
	go func() { obeyLines(lines, participants, events); endAll() }()
	return runAll(settings.URL, participants)
}

// runAll runs the participants side by side and returns when all have ended.
func runAll(url string, participants []*participant) error {
	failures := make([]error, len(participants))
	var all sync.WaitGroup
	for i, p := range participants {
		all.Go(func() {
			if err := p.run(url); err != nil {
				failures[i] = fmt.Errorf("%s: %w", p.config.Identity, err)
				p.report(event{Event: "failed", Message: err.Error()})
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// obeyLines carries out commands until "quit" or the end of the input.
func obeyLines(lines *bufio.Scanner, participants []*participant, events *eventWriter) {
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			events.write(event{Event: "error", Message: "not a command: " + err.Error()})
			continue
		}
		if c.Command == "quit" {
			return
		}
		for _, p := range participants {
			if c.Identity != "" && c.Identity != p.config.Identity {
				continue
			}
			if err := p.obey(c); err != nil {
				p.report(event{Event: "error", Message: err.Error()})
			}
		}
	}
}
