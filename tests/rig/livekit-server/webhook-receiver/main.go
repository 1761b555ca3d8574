// Command webhook-receiver takes webhooks and verifies them with LiveKit's own library.
//
// The first line on standard input is the configuration (see config); the secret comes only this way. Each
// further line is a command (see command). Standard output carries events, one JSON object a line: its address
// first, then each request, taken or not. It ends at the end of standard input.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/webhook"
)

type config struct {
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

// command is what requests are answered from now on: "ok", "busy" (503), "wrong" (400), or "down" (the
// connection is closed without an answer).
type command struct {
	Answer string `json:"answer"`
}

// event is one line of standard output.
type event struct {
	// Where it listens, once, at first.
	Address string `json:"address,omitempty"`
	// What LiveKit's library made of a request: the kind and the id of the event.
	Event string `json:"event,omitempty"`
	ID    string `json:"id,omitempty"`
	// The body of a request, as it was verified.
	Body        json.RawMessage `json:"body,omitempty"`
	ContentType string          `json:"content_type,omitempty"`
	// Whether it was answered with 200.
	Taken bool `json:"taken"`
	// Why a request isn't genuine.
	Error string `json:"error,omitempty"`
}

type receiver struct {
	keys   auth.KeyProvider
	answer atomic.Value
	mutex  sync.Mutex
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "webhook-receiver:", err)
		os.Exit(1)
	}
}

func run() error {
	lines := bufio.NewScanner(os.Stdin)
	if !lines.Scan() {
		return errors.New("no configuration on standard input")
	}
	var settings config
	if err := json.Unmarshal(lines.Bytes(), &settings); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	receiver := &receiver{keys: auth.NewSimpleKeyProvider(settings.Key, settings.Secret)}
	receiver.answer.Store("ok")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	receiver.tell(event{Address: listener.Addr().String()})
	server := &http.Server{Handler: receiver}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	for lines.Scan() {
		var one command
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return fmt.Errorf("reading a command: %w", err)
		}
		receiver.answer.Store(one.Answer)
		// Who waits for the command to count.
		receiver.tell(event{Event: "answer", ID: one.Answer})
	}
	_ = server.Close()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return lines.Err()
}

func (r *receiver) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	answer := r.answer.Load().(string)
	switch answer {
	case "down":
		if connection, _, err := writer.(http.Hijacker).Hijack(); err == nil {
			_ = connection.Close()
		}
		return
	case "busy", "wrong":
		_, _ = io.Copy(io.Discard, request.Body)
		status := map[string]int{"busy": http.StatusServiceUnavailable, "wrong": http.StatusBadRequest}[answer]
		writer.WriteHeader(status)
		return
	}
	told := event{ContentType: request.Header.Get("Content-Type")}
	copied := &copyingBody{ReadCloser: request.Body}
	request.Body = copied
	verified, err := webhook.ReceiveWebhookEvent(request, r.keys)
	if err != nil {
		told.Error = err.Error()
		r.tell(told)
		writer.WriteHeader(http.StatusUnauthorized)
		return
	}
	told.Event, told.ID, told.Body, told.Taken = verified.Event, verified.Id, copied.read, true
	r.tell(told)
	writer.WriteHeader(http.StatusOK)
}

// copyingBody keeps what is read of a request.
type copyingBody struct {
	io.ReadCloser
	read []byte
}

func (b *copyingBody) Read(buffer []byte) (int, error) {
	count, err := b.ReadCloser.Read(buffer)
	b.read = append(b.read, buffer[:count]...)
	return count, err
}

func (r *receiver) tell(one event) {
	line, err := json.Marshal(one)
	if err != nil {
		line = []byte(`{"error":"an event can't be written"}`)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Println(string(line))
}
