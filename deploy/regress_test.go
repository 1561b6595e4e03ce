package deploy

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/deploy/relay"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

func TestWhatDiffersAfterAWayBack(t *testing.T) {
	was := protocol.Facts{
		BootID: "boot-1", Running: "/old", Boots: bootloader.Default{System: "/old"},
		Profile: profiles.Generation{Link: "system-1-link", Number: 1, Path: "/old"},
	}
	// A test of another system ran, which is not the profile's.
	tested := was
	tested.Running = "/tested"
	unknown := was
	unknown.Boots = bootloader.Default{}
	for _, c := range []struct {
		name   string
		was    protocol.Facts
		change func(*protocol.Facts)
		says   string
	}{
		{"all is as it was", was, func(*protocol.Facts) {}, ""},
		{"another system runs", was, func(f *protocol.Facts) { f.Running = "/new" }, "it runs /new"},
		{"restarted into what was tested", tested, func(f *protocol.Facts) { f.BootID = "boot-2" }, ""},
		{"restarted into the profile", tested, func(f *protocol.Facts) { f.BootID, f.Running = "boot-2", "/old" }, ""},
		{"the profile's without a restart", tested, func(f *protocol.Facts) { f.Running = "/old" }, "it runs /old"},
		{"restarted into the new system", was, func(f *protocol.Facts) { f.BootID, f.Running = "boot-2", "/new" }, "it runs /new"},
		{"restarted, and the profile is the new system", was, func(f *protocol.Facts) {
			f.BootID, f.Running = "boot-2", "/new"
			f.Profile = profiles.Generation{Link: "system-2-link", Number: 2, Path: "/new"}
		}, "it runs /new"},
		{"another generation", was, func(f *protocol.Facts) {
			f.Profile = profiles.Generation{Link: "system-2-link", Number: 2, Path: "/new"}
		}, "generation 2, /new"},
		{"another generation of the same system", was, func(f *protocol.Facts) { f.Profile.Link, f.Profile.Number = "system-2-link", 2 }, "generation 2, /old"},
		{"the same generation of another system", was, func(f *protocol.Facts) { f.Profile.Path = "/new" }, "generation 1, /new"},
		{"another system boots", was, func(f *protocol.Facts) { f.Boots.System = "/new" }, "it boots /new"},
		{"what boots was not known", unknown, func(f *protocol.Facts) { f.Boots.System = "/old" }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			h.facts, h.seen = c.was, c.was
			c.change(&h.seen)
			err := h.differs()
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAHostWithoutASystemProfileIsRefused(t *testing.T) {
	h := web1(t)
	h.facts.Profile = profiles.Generation{}
	refusal(t, h.checkHost(), "look", "no system profile", profiles.System)
}

func TestBootRoom(t *testing.T) {
	const kernel, initrd = 3 << 20, 5 << 20
	for _, c := range []struct {
		name    string
		ownBoot bool
		booted  []string
		free    uint64
		full    bool
	}{
		{"both are new and fit", true, nil, kernel + initrd + bootReserve, false},
		{"both are new and do not fit", true, nil, kernel + initrd + bootReserve - 1, true},
		{"/boot is in the file system of the store", false, nil, 0, false},
		{"only the initrd is new and fits", true, []string{"kernel"}, initrd + bootReserve, false},
		{"only the initrd is new and does not fit", true, []string{"kernel"}, initrd + bootReserve - 1, true},
		{"neither is new", true, []string{"kernel", "initrd"}, bootReserve, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			for part, size := range map[string]int64{"kernel": kernel, "initrd": initrd} {
				file := filepath.Join(h.system.OutPath, part+"-file")
				put(t, file, "")
				if err := errors.Join(os.Truncate(file, size), os.Symlink(file, filepath.Join(h.system.OutPath, part))); err != nil {
					t.Fatal(err)
				}
			}
			h.facts.Kernel = map[string]string{"kernel": "/old-kernel", "initrd": "/old-initrd"}
			for _, part := range c.booted {
				file, err := filepath.EvalSymlinks(filepath.Join(h.system.OutPath, part))
				if err != nil {
					t.Fatal(err)
				}
				h.facts.Kernel[part] = file
			}
			h.facts.OwnBoot, h.facts.FreeBoot = c.ownBoot, c.free
			err := h.checkBootRoom()
			if !c.full && err != nil {
				t.Fatal(err)
			}
			if c.full {
				refusal(t, err, "space", "/boot", "nix-collect-garbage")
			}
		})
	}
	h := web1(t)
	h.facts.OwnBoot = true
	if err := h.checkBootRoom(); err != nil {
		t.Errorf("a system without a kernel: %v", err)
	}
}

func TestRootsOfDifferentFleetsAreApart(t *testing.T) {
	state := t.TempDir()
	dirOf := func(names ...string) string {
		t.Helper()
		r := &run{Request: Request{StateDir: state}}
		for _, name := range names {
			r.Hosts = append(r.Hosts, hosts.Host{Name: name})
		}
		dir, err := r.linkDir()
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || len(filepath.Base(dir)) > 255 {
			t.Errorf("%s: %v", dir, err)
		}
		return dir
	}
	if got := dirOf("web1", "web2"); got != filepath.Join(state, "roots", "web1+web2") {
		t.Errorf("a short fleet: %s", got)
	}
	long := make([]string, 30)
	for i := range long {
		long[i] = "production-web-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	all := dirOf(long...)
	if all != dirOf(long...) {
		t.Error("the same fleet has two directories")
	}
	if all == dirOf(long[:29]...) || all == dirOf(append(long[:29:29], "another")...) {
		t.Error("two fleets share a directory")
	}
	exact := strings.Repeat("x", nameLimit)
	if exactly, longer := dirOf(exact), dirOf(exact+"y"); exactly == longer || filepath.Base(exactly) != exact {
		t.Errorf("at the limit: %s, %s", exactly, longer)
	}
}

func TestACopyThatStandsStillIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		stop := watchStall(ctx, cancel, &relay.Relay{})
		time.Sleep(stallLimit - time.Second)
		if ctx.Err() != nil {
			t.Errorf("ended too early: %v", context.Cause(ctx))
		}
		time.Sleep(3 * time.Second)
		if err := context.Cause(ctx); err == nil || !strings.Contains(err.Error(), "not a byte in 5m0s") {
			t.Errorf("got %v", err)
		}
		stop()
	})
}

func TestACopyThatIsOverIsNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		watchStall(ctx, cancel, &relay.Relay{})()
		time.Sleep(2 * stallLimit)
		if ctx.Err() != nil {
			t.Errorf("ended: %v", context.Cause(ctx))
		}
	})
}

// Of two faults of the link, the full disk of the host is the one to tell.
func TestFullDiskIsToldThoughTheLinkBrokeOverIt(t *testing.T) {
	h := web1(t)
	connected(t, h)
	full := &nix.Error{Step: "copy", Kind: nix.DiskFull, Cause: "no space left", Output: "error: no space left"}
	if f := asFailure("", "", h.copyFailure(full, io.ErrClosedPipe)); !strings.Contains(f.Error(), "no space left") || !strings.Contains(f.Next, "nix-collect-garbage") {
		t.Errorf("got %+v", f)
	}
}

func TestADaemonThatDoesNotStartIsNotALostConnection(t *testing.T) {
	h := web1(t)
	connected(t, h)
	h.User, h.Elevation = "ann", []string{"sudo", "-n"}
	if _, err := h.daemonSaid.Write([]byte("sudo: a password is required\n")); err != nil {
		t.Fatal(err)
	}
	f := asFailure("", "", h.copyFailure(&nix.Error{Step: "copy", Kind: nix.Disconnected}, io.ErrUnexpectedEOF))
	if !strings.Contains(f.Error(), "sudo: a password is required") || strings.Contains(f.Error(), "connection was lost") || !strings.Contains(f.Next, "nix-daemon") {
		t.Errorf("got %+v", f)
	}
}
