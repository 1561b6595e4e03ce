// Package bundle holds the agents that tests put on hosts: shell scripts that
// run the program named by HDEPLOY_TEST_AGENT. With them the tests need no
// built agent, and what runs is what was hashed.
package bundle

import "embed"

// FS has the form of the real bundle.
//
//go:embed all:dist
var FS embed.FS
