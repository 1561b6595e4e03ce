package hosts

import (
	"slices"
	"time"
)

// settings are a host while it is read, level by level. Names are resolved only when
// everything was read, because their tables may stand anywhere.
type settings struct {
	Host
	probes   []*node
	jump     []*node
	build    *node
	witness  *node
	profiles []profileDraft
	// header is where the host's table begins.
	header position
	// withoutSystem says that the host's NixOS system is not deployed.
	withoutSystem bool
}

// ownKeys are those that differ from host to host.
func ownKeys() []key[settings] {
	return []key[settings]{
		{"address", "Host name or IP address, without user and port; \"local\" for the machine that hdeploy runs on. The host's name by default.",
			textForm(checkAddress, "", func(h *settings) *string { return &h.Address })},
		{"attribute", "Path of the system within the flake, nixosConfigurations.NAME.config.system.build.toplevel by default.",
			textForm(checkAttribute, "", func(h *settings) *string { return &h.Attribute })},
		{"machine_id", "The content of /etc/machine-id, which proves that the host is the one meant.",
			textForm(checkMachineID, "^[0-9a-f]{32}$", func(h *settings) *string { return &h.MachineID })},
		{"system", "Whether the host's NixOS system is deployed, beside its other profiles.", systemForm()},
	}
}

// levelKeys are those that every level may say, [defaults], [tags.NAME] and
// [hosts.NAME].
func levelKeys() []key[settings] {
	return slices.Concat(loginKeys(
		func(h *settings) *int { return &h.Port }, func(h *settings) *string { return &h.User },
		func(h *settings) *[]string { return &h.HostKeys }, func(h *settings) *[]string { return &h.IdentityFiles },
	), []key[settings]{
		{"ssh_options", "Directives as in ssh_config, which come before it.", sshOptionsForm()},
		{"jump", "Hosts or jump hosts to go through, nearest first.", useForm(
			func(h *settings) *[]*node { return &h.jump }, func(h settings) []string { return jumpNames(h.Jump) })},
		{"elevation", "How the login user becomes root: \"sudo\", \"doas\", \"run0\", \"none\", or the words to put before each command.", elevationForm()},
		{"elevation_password", "Where the password for it comes from: \"ask\", a file here, or a command here that prints it.", passwordForm()},
		{"agent", "The fixed path of the agent on the host, which a rule of sudo names; uploaded by default.",
			textForm(checkAbsolute, "^/", func(h *settings) *string { return &h.Agent })},
		{"temp_dir", "Folder of the login user on the host for the agent that is uploaded, and for the pipes of doas or run0 with a password; the home directory and /tmp by default.",
			textForm(checkAbsolute, "^/", func(h *settings) *string { return &h.TempDir })},
		{"build", "Where the closure is built: \"local\", \"host\" for the host itself, or the name of another host.", buildForm()},
		{"substitute", "Let the host fetch from its own caches what they have.",
			flagForm(func(h *settings) *bool { return &h.Substitute })},
		{"confirm", "Where the new system answers, where the change moves that.", tableForm(confirmKeys(), newConfirm, func(h settings) *Endpoint { return h.Confirm })},
		{"auto_rollback", "Take back a system that fails its trial.",
			flagForm(func(h *settings) *bool { return &h.AutoRollback })},
		{"magic_rollback", "Demand that the new system is confirmed over a new connection.",
			flagForm(func(h *settings) *bool { return &h.MagicRollback })},
		{"when_reboot_needed", "What a switch does with a system that cannot be switched to while the host runs.", rebootForm()},
		{"last_resort", "What the host does where going back did not help.",
			wordForm(func(h *settings) *string { return &h.LastResort }, "none", "reboot")},
		{"tags", "hdeploy switch @TAG selects all hosts with the tag, and [tags.TAG] sets what they have in common.",
			listForm(checkName, namePattern, func(h *settings) *[]string { return &h.Tags }, asWritten)},
		{"probes", "Which probes judge the host.", useForm(
			func(h *settings) *[]*node { return &h.probes }, func(h settings) []string { return probeNames(h.Probes) })},
		{"timeouts", "How long each part of a deployment may take.", tableForm(timeoutKeys(),
			func(h *settings) *Timeouts { return &h.Timeouts }, func(h settings) *Timeouts { return &h.Timeouts })},
	}, aloneKeys())
}

// loginKeys are what hosts and jump hosts have in common.
func loginKeys[T any](port func(*T) *int, user func(*T) *string, hostKeys, identityFiles func(*T) *[]string) []key[T] {
	return []key[T]{
		{"port", "Port of sshd.", integerForm(1, 65535, port)},
		{"user", "Who logs in.", textForm(checkAccount, accountPattern, user)},
		{"host_keys", "Public keys of the host, type and base64. Where there are any, nothing else is believed.",
			listForm(checkHostKey, "", hostKeys, asKey)},
		{"identity_files", "Private keys, offered before those of the SSH agent.",
			listForm(checkWord, "^[^-]", identityFiles, asPath)},
	}
}

func asWritten(_ *section, text string) string { return text }
func asKey(_ *section, text string) string     { return normalKey(text) }
func asPath(s *section, text string) string    { return s.d.absolutePath(text) }

func timeoutKeys() []key[Timeouts] {
	const least, most = time.Second, 24 * time.Hour
	return []key[Timeouts]{
		{"activation", "The activation of the new system.", durationForm(least, most, func(t *Timeouts) *time.Duration { return &t.Activation })},
		{"confirm", "The wait for the confirmation, beside what the probes take.", durationForm(least, most, func(t *Timeouts) *time.Duration { return &t.Confirm })},
		{"commit", "Profile and boot loader.", durationForm(least, most, func(t *Timeouts) *time.Duration { return &t.Commit })},
		{"rollback", "The whole way back.", durationForm(least, most, func(t *Timeouts) *time.Duration { return &t.Rollback })},
		{"grace", "What the dead-man's switch leaves to the supervisor beyond all of these.", durationForm(least, most, func(t *Timeouts) *time.Duration { return &t.Grace })},
		{"reboot", "From a reboot until the host answers again.", durationForm(least, most, func(t *Timeouts) *time.Duration { return &t.Reboot })},
		{"connect", "One connection, with handshake and login, through all hops.",
			durationForm(100*time.Millisecond, 10*time.Minute, func(t *Timeouts) *time.Duration { return &t.Connect })},
	}
}

// confirmKeys are those of the host that may move; what is not said stays.
func confirmKeys() []key[Endpoint] {
	return []key[Endpoint]{
		{"address", "The host name or IP address of the new system.", textForm(checkAddress, "", func(e *Endpoint) *string { return &e.Address })},
		{"port", "The port of the new system's sshd.", integerForm(1, 65535, func(e *Endpoint) *int { return &e.Port })},
		{"user", "Who logs in on the new system.", textForm(checkAccount, accountPattern, func(e *Endpoint) *string { return &e.User })},
		{"host_keys", "The public keys of the new system.", listForm(checkHostKey, "", func(e *Endpoint) *[]string { return &e.HostKeys }, asKey)},
	}
}

// newConfirm is an endpoint of the host's own: levels share none.
func newConfirm(h *settings) *Endpoint {
	own := Endpoint{}
	if h.Confirm != nil {
		own = *h.Confirm
	}
	h.Confirm = &own
	return h.Confirm
}

func systemForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			deployed := true
			s.boolean(name, &deployed)
			into.withoutSystem = !deployed
		},
		schema: func(Kinds) schema { return schema{"type": "boolean"} },
		show: func(h settings) any {
			return slices.ContainsFunc(h.Profiles, func(p Profile) bool { return p.Kind == KindNixOS })
		},
	}
}

func buildForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			s.text(name, &into.Build, checkName)
			if value := s.table.field(name).value; value.kind == kindString {
				into.build = value
			}
		},
		schema: func(Kinds) schema { return textSchema(namePattern) },
		show:   func(h settings) any { return h.Build },
	}
}

func rebootForm() form[settings] {
	words := []string{"refuse", "boot"}
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			word := words[0]
			if s.oneOf(name, &word, words...) {
				into.OrBoot = word == "boot"
			}
		},
		schema: func(Kinds) schema { return schema{"type": "string", "enum": words} },
		show: func(h settings) any {
			if h.OrBoot {
				return "boot"
			}
			return "refuse"
		},
	}
}
