package protocol

// CodeNotSwitchable says that the host cannot be switched to the system while it
// runs, but may be booted into it. Nothing was changed.
const CodeNotSwitchable = "not-switchable"
