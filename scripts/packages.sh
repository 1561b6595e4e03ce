# Sourced by the other scripts: what they need from Debian, and what they say where they
# cannot install it.

# fail MESSAGE: one line that says what is missing or wrong.
fail() {
  echo "scripts/${0##*/}: $1" >&2
  exit 1
}

# need_packages PROGRAM=PACKAGE...: installs the packages of the programs that are missing.
need_packages() {
  PATH=$PATH:/usr/sbin:/sbin
  local pair missing=()
  for pair; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null ||
    fail "missing: ${missing[*]}; this machine has no apt-get to install them with"
  ((EUID == 0)) || fail "missing: ${missing[*]}; run as root to install them"
  echo "installing ${missing[*]}" >&2
  # Of what apt says only the errors are of interest.
  apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# need_go: Go of the version that go.mod asks for. Newer toolchains fetch it themselves.
need_go() {
  local wanted have
  wanted=$(awk '$1 == "go" { print $2 }' go.mod)
  command -v go >/dev/null || fail "missing: go; install Go $wanted or newer and put it in PATH"
  have=$(go env GOVERSION 2>/dev/null) || have=$(GOTOOLCHAIN=local go version | awk '{ print $3 }')
  [[ $(printf '%s\n' "$wanted" "${have#go}" | sort -V | head -n 1) == "$wanted" ]] ||
    fail "go is too old: ${have#go}; install Go $wanted or newer and put it in PATH"
}
