//go:build race

package transaction

// raceEnabled makes the simulation smaller: the race detector slows it down ten
// times, and what it looks for is in the tests with real files.
const raceEnabled = true
