package remotetest

import (
	"net"
	"sync"
)

// stallable is a connection that can stop to read and write.
type stallable struct {
	net.Conn
	mu   sync.Mutex
	open chan struct{} // closed while data may pass
}

func opened() chan struct{} {
	open := make(chan struct{})
	close(open)
	return open
}

func (s *stallable) gate() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *stallable) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.open:
		s.open = make(chan struct{})
	default:
	}
}

func (s *stallable) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.open:
	default:
		close(s.open)
	}
}

// Read passes data on only if the connection is not stalled when it arrived.
func (s *stallable) Read(buffer []byte) (int, error) {
	n, err := s.Conn.Read(buffer)
	<-s.gate()
	return n, err
}

func (s *stallable) Write(data []byte) (int, error) {
	<-s.gate()
	return s.Conn.Write(data)
}
