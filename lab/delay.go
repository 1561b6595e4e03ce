package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// A direction of a delayed connection keeps at most this many chunks under way, far more
// than any window of the lab needs, so that only time is added.
const (
	delayChunks    = 2048
	delayChunkSize = 64 << 10
)

// startDelay serves listener until the returned function is called or ctx ends. That
// function returns when every connection is closed.
func startDelay(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error), rtt time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	closing := context.AfterFunc(ctx, func() { _ = listener.Close() })
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			client, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			tasks.Go(func() { delayConnection(ctx, client, dial, rtt) })
		}
	})
	return func() {
		cancel()
		if closing() {
			_ = listener.Close()
		}
		tasks.Wait()
	}
}

func delayConnection(ctx context.Context, client net.Conn, dial func(context.Context) (net.Conn, error), rtt time.Duration) {
	defer func() { _ = client.Close() }()
	// The client's handshake with the proxy took no time. Over the real line the server
	// would have it complete only after one and a half round trips.
	if !sleep(ctx, rtt+rtt/2) {
		return
	}
	server, err := dial(ctx)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	closing := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer closing()

	var directions sync.WaitGroup
	directions.Go(func() { delayCopy(server, client, rtt/2) })
	directions.Go(func() { delayCopy(client, server, rtt/2) })
	directions.Wait()
}

type delayedChunk struct {
	due  time.Time
	data []byte
}

// delayCopy writes to destination what source sent, each piece and the end of the
// stream latency after it came.
func delayCopy(destination, source net.Conn, latency time.Duration) {
	line := make(chan delayedChunk, delayChunks)
	var writer sync.WaitGroup
	writer.Go(func() {
		failed := false
		for chunk := range line {
			if failed {
				continue // the reader must not block on a line that nobody empties
			}
			time.Sleep(time.Until(chunk.due))
			if err := deliver(destination, chunk.data); err != nil {
				failed = true
				_ = source.Close()
			}
		}
	})
	buffer := make([]byte, delayChunkSize)
	for {
		count, err := source.Read(buffer)
		if count > 0 {
			line <- delayedChunk{time.Now().Add(latency), append([]byte(nil), buffer[:count]...)}
		}
		if errors.Is(err, io.EOF) {
			line <- delayedChunk{due: time.Now().Add(latency)}
			break
		}
		if err != nil {
			_ = destination.Close()
			break
		}
	}
	close(line)
	writer.Wait()
}

// deliver writes data, or the end of the stream where there is none.
func deliver(destination net.Conn, data []byte) error {
	if data != nil {
		_, err := destination.Write(data)
		return err
	}
	if half, ok := destination.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return destination.Close()
}

// sleep reports whether the whole duration passed before ctx ended.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
