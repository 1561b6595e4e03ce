package reach

import "testing"

// A filter that nobody can read any more is none that is as before.
func TestWhatCanBeReadNoMoreHasChanged(t *testing.T) {
	if f := (prover{}).filter(t.Context()); f.State != Changed {
		t.Errorf("without any program that shows the packet filter: %+v", f)
	}
}
