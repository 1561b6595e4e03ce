package sshconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"time"
)

// SystemFile is the configuration of the machine.
const SystemFile = "/etc/ssh/ssh_config"

// Config is the content of the files. It keeps what it has read, and is not for
// several goroutines at once.
type Config struct {
	userFile, systemFile string
	// named says that the user's file was asked for by name: as with ssh -F it must
	// exist, and may belong to others.
	named bool
	local local
	files map[string]*file
	// execTimeout is how long a command of Match exec may take.
	execTimeout time.Duration
	// testOnlyExec runs the commands of Match exec.
	testOnlyExec func(command string) (bool, error)
}

// local is what tokens tell of this machine and who uses it.
type local struct {
	user, home, hostname string
	uid                  int
	env                  func(string) (string, bool)
}

// Load reads the configuration as ssh does by default: the user's file, if there is
// one and nobody else may write to it, and then the system's. An empty name leaves a
// file out.
func Load(userFile, systemFile string) (*Config, error) {
	c, err := newConfig()
	if err != nil {
		return nil, err
	}
	c.userFile, c.systemFile = userFile, systemFile
	return c, c.readAll()
}

// LoadOnly reads a file and no other, as ssh -F does.
func LoadOnly(path string) (*Config, error) {
	c, err := newConfig()
	if err != nil {
		return nil, err
	}
	c.userFile, c.named = path, true
	return c, c.readAll()
}

func newConfig() (*Config, error) {
	here, err := thisUser()
	if err != nil {
		return nil, err
	}
	return &Config{local: here, files: map[string]*file{}, execTimeout: 5 * time.Second}, nil
}

// thisUser prefers $HOME, as the rest of hdeploy does, where OpenSSH asks the account
// for its home.
func thisUser() (local, error) {
	l := local{uid: os.Getuid(), env: os.LookupEnv}
	account, err := user.LookupId(strconv.Itoa(l.uid))
	switch {
	case err == nil:
		l.user, l.home = account.Username, account.HomeDir
	case os.Getenv("USER") != "":
		l.user = os.Getenv("USER")
	case l.uid == 0:
		l.user = "root"
	default: // a sandbox may have no list of users
		l.user = strconv.Itoa(l.uid)
	}
	if home, err := os.UserHomeDir(); err == nil {
		l.home = home
	}
	if l.hostname, err = os.Hostname(); err != nil {
		return l, fmt.Errorf("find out the name of this machine: %v", err)
	}
	return l, nil
}

// readAll shows that a file cannot be read before a host is looked up.
func (c *Config) readAll() error {
	for _, path := range []string{c.userFile, c.systemFile} {
		if path == "" {
			continue
		}
		_, err := c.read(path)
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case c.named:
			return &Error{Source: Source{File: path}, Message: "read it: there is no such file"}
		}
	}
	return nil
}

// Query is what ssh_config is asked for.
type Query struct {
	// Host is what would stand behind ssh on a command line: a name of ssh_config, a
	// host name or an address, without user and port.
	Host string
	// User and Port are settled already, as by -l and -p; empty and 0 where they are
	// not.
	User string
	Port int
	// DefaultUser logs in where nobody says who does; the local user if it is empty.
	DefaultUser string
	// Options come before every file, as those of -o do.
	Options []Option
}

// Option is one directive that is no line of a file.
type Option struct {
	Directive, Value string
	Source           Source
}

// Lookup returns what holds for a destination. Its errors are of type [*Error].
func (c *Config) Lookup(q Query) (Settings, error) {
	r, err := c.resolve(q)
	if err != nil {
		return Settings{}, err
	}
	if err := r.refused(); err != nil {
		return Settings{}, err
	}
	return r.settings()
}

// User is the name of the local user, who logs in to hosts of which ssh_config does
// not say another.
func (c *Config) User() string { return c.local.user }
