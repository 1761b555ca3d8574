package main

import (
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// How long joining and negotiating may take.
const connectTimeout = 20 * time.Second

// participantConfig describes who publishes what.
type participantConfig struct {
	Identity string       `json:"identity"`
	Token    string       `json:"token"`
	Video    *videoConfig `json:"video"`
	Audio    *audioConfig `json:"audio"`
}

type videoConfig struct {
	// H.264 byte stream (one slice a picture) or an IVF file (.ivf) with VP8 or VP9.
	Path   string  `json:"path"`
	FPS    float64 `json:"fps"`
	Width  int     `json:"width"`
	Height int     `json:"height"`
}

type audioConfig struct {
	// Ogg Opus with packets of 20 ms.
	Path string `json:"path"`
}

// participant publishes its clips in step: the first sample of sound leaves with the first frame.
type participant struct {
	config participantConfig
	events *eventWriter
	loop   bool
	room   *lksdk.Room
	// The clips that are loaded; after the start only commands use it.
	cache *clipCache

	// Closed at the end, once.
	stop     chan struct{}
	stopOnce sync.Once
	joined   atomic.Bool
	online   atomic.Bool

	video, audio *sender
	counts       counts
}

func newParticipant(config participantConfig, cache *clipCache, events *eventWriter, loop bool) (*participant, error) {
	p := &participant{config: config, events: events, loop: loop, cache: cache, stop: make(chan struct{})}
	if config.Video != nil {
		clip, err := cache.loadVideo(config.Video.Path)
		if err != nil {
			return nil, err
		}
		if config.Video.FPS <= 0 {
			return nil, errors.New("the video's fps must be above 0")
		}
		interval := time.Duration(float64(time.Second) / config.Video.FPS)
		p.video = newSender("video", clip.mimeType, 90000, clip.frames, interval, 0)
	}
	if config.Audio != nil {
		clip, err := cache.loadAudio(config.Audio.Path)
		if err != nil {
			return nil, err
		}
		// The encoder's delay goes out ahead, so that the first sample of the sound is on time.
		lead := time.Duration(clip.preSkip) * time.Second / opusClockRate
		interval := opusPacketSamples * time.Second / opusClockRate
		p.audio = newSender("audio", webrtc.MimeTypeOpus, opusClockRate, clip.packets, interval, lead)
	}
	if p.video == nil && p.audio == nil {
		return nil, errors.New("a participant needs video or audio")
	}
	if p.video != nil && p.audio != nil {
		// Both loop at the same instant: sound beyond the picture (the encoder's padding) is cut.
		length := p.video.interval * time.Duration(len(p.video.units))
		if packets := int((length + p.audio.interval/2) / p.audio.interval); packets <= len(p.audio.units) {
			p.audio.units = p.audio.units[:packets]
		}
	}
	return p, nil
}

// run joins, publishes, sends until the clip or the room ends or stop is called, and leaves.
func (p *participant) run(url string) error {
	callback := &lksdk.RoomCallback{
		OnDisconnectedWithReason: func(reason lksdk.DisconnectionReason) {
			p.report(event{Event: "disconnected", Message: string(reason)})
			p.end()
		},
		OnReconnecting: func() { p.online.Store(false); p.report(event{Event: "reconnecting"}) },
		OnReconnected:  func() { p.online.Store(true); p.report(event{Event: "reconnected"}) },
	}
	room, err := lksdk.ConnectToRoomWithToken(url, p.config.Token, callback, lksdk.WithAutoSubscribe(false))
	if err != nil {
		return fmt.Errorf("joining the room: %w", err)
	}
	defer room.Disconnect()
	p.room = room
	for _, s := range p.senders() {
		if err := p.publish(s); err != nil {
			return err
		}
	}
	if err := p.waitConnected(); err != nil {
		return err
	}
	p.joined.Store(true)
	p.online.Store(true)
	p.report(event{Event: "started"})
	p.send(time.Now().Add(50 * time.Millisecond))
	final := p.counts
	p.report(event{Event: "finished", counts: &final})
	return nil
}

func (p *participant) end() { p.stopOnce.Do(func() { close(p.stop) }) }

func (p *participant) senders() []*sender {
	var all []*sender
	for _, s := range []*sender{p.video, p.audio} {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}

func (p *participant) publish(s *sender) error {
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: s.mimeType, ClockRate: s.clockRate, Channels: s.channels()})
	if err != nil {
		return err
	}
	options := &lksdk.TrackPublicationOptions{Name: s.kind, Source: livekit.TrackSource_MICROPHONE, Stereo: true, DisableDTX: true}
	if s.kind == "video" {
		source := livekit.TrackSource_CAMERA
		if s.screenShare {
			source = livekit.TrackSource_SCREEN_SHARE
		}
		options = &lksdk.TrackPublicationOptions{Name: s.kind, Source: source,
			VideoWidth: p.config.Video.Width, VideoHeight: p.config.Video.Height}
	}
	publication, err := p.room.LocalParticipant.PublishTrack(track, options)
	if err != nil {
		return fmt.Errorf("publishing the %s: %w", s.kind, err)
	}
	s.attach(track, publication)
	p.report(event{Event: "published", Kind: s.kind, TrackSID: publication.SID()})
	return nil
}

// waitConnected returns once packets can leave: every track is negotiated and the transport is up.
func (p *participant) waitConnected() error {
	deadline := time.After(connectTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		connection := p.room.LocalParticipant.GetPublisherPeerConnection()
		ready := connection != nil && connection.ConnectionState() == webrtc.PeerConnectionStateConnected
		for _, s := range p.senders() {
			ready = ready && s.bound()
		}
		if ready {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.stop:
			return errors.New("ended before the connection was up")
		case <-deadline:
			return errors.New("no connection to the media port within the time")
		}
	}
}

// send hands over each frame and packet at its time.
func (p *participant) send(start time.Time) {
	lastReport := start
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := p.next()
		if next == nil {
			return
		}
		due := start.Add(next.due())
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-p.stop:
			return
		}
		late := float64(time.Since(due).Microseconds()) / 1000
		p.counts.MaxLateMs = max(p.counts.MaxLateMs, late)
		if next.exchange() {
			p.report(event{Event: "changed", Kind: next.kind})
		}
		sent := next.sendNext(p.online.Load())
		if next == p.video {
			p.counts.FrameNumber = p.video.sequence - 1
		}
		if sent && next == p.video {
			p.counts.VideoFrames++
		} else if sent {
			p.counts.AudioPackets++
		}
		if time.Since(lastReport) >= time.Second {
			lastReport = time.Now()
			now := p.counts
			p.report(event{Event: "progress", counts: &now})
		}
	}
}

// next is the sender whose turn it is, or nil at the end of the clip.
func (p *participant) next() *sender {
	var first *sender
	for _, s := range p.senders() {
		if !p.loop && s.sequence >= int64(len(s.units)) {
			continue
		}
		if first == nil || s.due() < first.due() {
			first = s
		}
	}
	return first
}

// obey carries out a command from standard input.
func (p *participant) obey(c command) error {
	if !p.joined.Load() {
		return errors.New("not in the room yet")
	}
	var s *sender
	switch c.Kind {
	case "video":
		s = p.video
	case "audio":
		s = p.audio
	}
	if s == nil {
		return fmt.Errorf("this participant has no %q", c.Kind)
	}
	var err error
	done := c.Command + "d"
	switch c.Command {
	case "mute", "unmute":
		s.setMuted(c.Command == "mute")
	case "unpublish":
		done = "unpublished"
		err = s.unpublish(p.room)
	case "republish":
		done = ""
		if s.published() {
			err = s.unpublish(p.room)
		}
		if err == nil {
			s.screenShare = c.Source == "screen_share"
			err = p.publish(s)
		}
	case "clip":
		done = ""
		err = s.goOnWith(p.cache, c.Path)
	default:
		err = fmt.Errorf("unknown command %q", c.Command)
	}
	if err == nil && done != "" {
		p.report(event{Event: done, Kind: c.Kind})
	}
	return err
}

func (p *participant) report(e event) {
	e.Identity = p.config.Identity
	p.events.write(e)
}

// sender owns one published track and its place in the clip.
type sender struct {
	kind      string
	mimeType  string
	clockRate uint32
	units     [][]byte
	interval  time.Duration
	lead      time.Duration
	rtpBase   uint32
	sequence  int64
	// Published as the screen's picture rather than a camera's.
	screenShare bool

	lock sync.Mutex
	// What is sent from the next key frame on, in place of units.
	following   [][]byte
	track       *lksdk.LocalTrack
	publication *lksdk.LocalTrackPublication
	muted       bool
}

func newSender(kind, mimeType string, clockRate uint32, units [][]byte, interval, lead time.Duration) *sender {
	return &sender{kind: kind, mimeType: mimeType, clockRate: clockRate, units: units, interval: interval,
		lead: lead, rtpBase: rand.Uint32()>>1 + 1}
}

func (s *sender) channels() uint16 {
	if s.kind == "audio" {
		return 2
	}
	return 0
}

// due is when the next unit leaves, counted from the start.
func (s *sender) due() time.Duration {
	return time.Duration(s.sequence)*s.interval - s.lead
}

// sendNext hands the next unit over, unless the track is away, and says whether it did.
func (s *sender) sendNext(online bool) bool {
	unit := s.units[s.sequence%int64(len(s.units))]
	ticks := uint64(s.sequence) * uint64(s.interval) * uint64(s.clockRate)
	sample := media.Sample{Data: unit, PacketTimestamp: s.rtpBase + uint32((ticks+uint64(time.Second)/2)/uint64(time.Second))}
	s.sequence++
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.track == nil || s.muted || !online || !s.track.IsBound() {
		return false
	}
	return s.track.WriteSample(sample, nil) == nil
}

// goOnWith has another clip of the same codec and length take over at its next key frame, at the same
// place: as a camera that is turned, the track stays as it is.
func (s *sender) goOnWith(cache *clipCache, path string) error {
	if s.kind != "video" {
		return fmt.Errorf("the %s can't change", s.kind)
	}
	clip, err := cache.loadVideo(path)
	if err != nil {
		return err
	}
	if clip.mimeType != s.mimeType || len(clip.frames) != len(s.units) {
		return fmt.Errorf("%s has another codec or length", path)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.following = clip.frames
	return nil
}

// exchange begins the clip that is to follow, if there is one and a key frame is due, and says whether
// it did. Clips have a key frame each second.
func (s *sender) exchange() bool {
	perSecond := max(int64(time.Second/s.interval), 1)
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.following == nil || s.sequence%int64(len(s.units))%perSecond != 0 {
		return false
	}
	s.units, s.following = s.following, nil
	return true
}

func (s *sender) attach(track *lksdk.LocalTrack, publication *lksdk.LocalTrackPublication) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.track, s.publication, s.muted = track, publication, false
}

func (s *sender) bound() bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.track != nil && s.track.IsBound()
}

func (s *sender) published() bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.publication != nil
}

func (s *sender) setMuted(muted bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.muted = muted
	if s.publication != nil {
		s.publication.SetMuted(muted)
	}
}

func (s *sender) unpublish(room *lksdk.Room) error {
	s.lock.Lock()
	publication := s.publication
	s.track, s.publication = nil, nil
	s.lock.Unlock()
	if publication == nil {
		return fmt.Errorf("the %s isn't published", s.kind)
	}
	return room.LocalParticipant.UnpublishTrack(publication.SID())
}
