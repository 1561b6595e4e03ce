package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const systemBus = "/run/dbus/system_bus_socket"

// bus is a connection to the system bus, held while the switch lasts. The real program speaks to systemd and logind over it, so a
// bus that is not there, or goes away, ends it; systemctl would not notice, since root has a socket of its own.
type bus struct {
	connection net.Conn
}

// openBus connects and says hello, within the 25 s that D-Bus libraries give a call.
func openBus(path string) (*bus, error) {
	connection, err := net.DialTimeout("unix", path, 25*time.Second)
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %v", err)
	}
	b := &bus{connection: connection}
	if err := b.introduce(); err != nil {
		connection.Close()
		return nil, fmt.Errorf("connect to the system bus: %v", err)
	}
	return b, nil
}

func (b *bus) introduce() error {
	if err := b.connection.SetDeadline(time.Now().Add(25 * time.Second)); err != nil {
		return err
	}
	// The user id is sent as the hexadecimal of its decimal digits.
	if _, err := fmt.Fprintf(b.connection, "\x00AUTH EXTERNAL %x\r\n", fmt.Sprint(os.Geteuid())); err != nil {
		return err
	}
	reader := bufio.NewReaderSize(b.connection, 512)
	answer, err := reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte("OK ")) {
		return fmt.Errorf("it answered %q", answer)
	}
	if _, err := b.connection.Write(append([]byte("BEGIN\r\n"), hello()...)); err != nil {
		return err
	}
	_, err = reader.ReadByte()
	return err
}

// alive fails once the daemon is gone. What it has sent meanwhile is dropped.
func (b *bus) alive() error {
	if err := b.connection.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return fmt.Errorf("read from the system bus: %v", err)
	}
	buffer := make([]byte, 4096)
	for {
		_, err := b.connection.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from the system bus: %v", err)
		}
	}
}

func (b *bus) Close() error { return b.connection.Close() }

// hello is the message that every connection has to send first: org.freedesktop.DBus.Hello, little endian, without a body.
func hello() []byte {
	const (
		path, interfaceName, member, destination = 1, 2, 3, 6
		objectPath, text                         = 'o', 's'
	)
	var fields []byte
	field := func(code, kind byte, value string) {
		for len(fields)%8 != 0 {
			fields = append(fields, 0)
		}
		fields = append(fields, code, 1, kind, 0)
		fields = binary.LittleEndian.AppendUint32(fields, uint32(len(value)))
		fields = append(append(fields, value...), 0)
	}
	field(path, objectPath, "/org/freedesktop/DBus")
	field(interfaceName, text, "org.freedesktop.DBus")
	field(member, text, "Hello")
	field(destination, text, "org.freedesktop.DBus")

	const methodCall, noFlags, version, bodyLength, serial = 1, 0, 1, 0, 1
	message := []byte{'l', methodCall, noFlags, version}
	message = binary.LittleEndian.AppendUint32(message, bodyLength)
	message = binary.LittleEndian.AppendUint32(message, serial)
	message = binary.LittleEndian.AppendUint32(message, uint32(len(fields)))
	message = append(message, fields...)
	for len(message)%8 != 0 {
		message = append(message, 0)
	}
	return message
}
