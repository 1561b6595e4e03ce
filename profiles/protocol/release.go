package protocol

// Release is the version of hdeploy and of its agent, which are released
// together. Between releases an agent keeps its hash, and with it its place on
// the hosts, as long as its code is the same.
const Release = "0.1.0"
