package reach

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// defaultConfig is where sshd of NixOS has its settings.
const defaultConfig = "/etc/ssh/sshd_config"

// about are the words of -C for a login. sshd refuses to tell anything where a block of its
// settings asks for what is not among them.
func (d daemon) about(name string, from netip.Addr) []string {
	words := []string{"user=" + name, "host=" + from.String(), "addr=" + from.String(), "laddr=" + d.answersFrom(from).String()}
	if ports := d.ports(); len(ports) > 0 {
		words = append(words, "lport="+strconv.Itoa(int(ports[0])))
	}
	return words
}

// answersFrom is the host's end of a connection from an address.
func (d daemon) answersFrom(from netip.Addr) netip.Addr {
	for _, a := range d.addresses() {
		if !a.Addr().IsUnspecified() {
			return a.Addr().WithZone("")
		}
	}
	if own, ok := sourceTo(from); ok {
		return own
	}
	return from
}

// sourceTo is the address that a packet to another one leaves from. None is sent.
func sourceTo(to netip.Addr) (netip.Addr, bool) {
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "udp", netip.AddrPortFrom(to, 9).String())
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return local.AddrPort().Addr().Unmap().WithZone(""), true
}

// elsewhere are the blocks of sshd's settings that may hold for the user, and that sshd
// cannot be asked about: those for where somebody comes from, or arrives. It is asked
// about one such place alone.
func (d daemon) elsewhere(user string) []string {
	path := defaultConfig
	if at := slices.Index(d.args, "-f"); at >= 0 && at+1 < len(d.args) {
		path = d.args[at+1]
	}
	text, err := readCapped(path)
	if err != nil {
		return nil
	}
	return matchBlocks(string(text), user)
}

// matchBlocks reads sshd_config(5).
func matchBlocks(text, user string) []string {
	var blocks []string
	within := false
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if strings.EqualFold(words[0], "match") {
			if within = asksForPlace(words[1:], user); within {
				blocks = append(blocks, "")
			}
		}
		if within {
			last := &blocks[len(blocks)-1]
			*last = strings.TrimSpace(*last + " " + strings.Join(words, " "))
		}
	}
	return blocks
}

// asksForPlace says whether the conditions of a block ask for more than who logs in.
func asksForPlace(conditions []string, user string) bool {
	place := false
	for i, word := range conditions {
		switch word = strings.ToLower(word); {
		case word == "user" && i+1 < len(conditions):
			patterns := strings.Split(conditions[i+1], ",")
			if !slices.ContainsFunc(patterns, func(p string) bool { return matches(p, user) }) {
				return false
			}
		case slices.Contains([]string{"address", "host", "localaddress", "localport", "rdomain", "exec"}, word):
			place = true
		}
	}
	return place
}

// PAM's settings of sshd, and the file that keeps all but root from logging in.
const (
	pamFile = "/etc/pam.d/sshd"
	noLogin = "/etc/nologin"
)

// asksPAM is what decides beside sshd whether an account that has shown its key gets in.
func (s Settings) asksPAM() []string {
	var lines []string
	if text, err := readCapped(pamFile); err == nil && s.value("usepam") == "yes" {
		lines = pamLines(string(text))
	}
	if _, err := os.Stat(noLogin); err == nil {
		lines = append(lines, "there is "+noLogin)
	}
	return lines
}

// pamLines reads pam.conf(5): the lines about accounts. A module counts by its name: it
// lies elsewhere with each release.
func pamLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 3 || strings.TrimPrefix(words[0], "-") != "account" {
			continue
		}
		for i, w := range words {
			if strings.HasSuffix(w, ".so") {
				words[i] = filepath.Base(w)
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}
