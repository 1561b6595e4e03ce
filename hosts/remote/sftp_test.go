package remote_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

func TestSFTP(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	conn := dial(t, target)
	client, err := conn.SFTP(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	file, err := client.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if _, err := file.ReadFrom(bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Run(deadline(t), []string{"true"}, nil); err != nil {
		t.Errorf("the connection ended with SFTP: %v", err)
	}
}

func TestSFTPOff(t *testing.T) {
	_, target := setup(t, remotetest.Options{NoSFTP: true})
	_, err := dial(t, target).SFTP(deadline(t))
	wantError(t, err, remote.SFTPOff, "web1: open SFTP: the host refuses the request", "allowSFTP")
}
