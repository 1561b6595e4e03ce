package profiles

// KeepTwo keeps path and what was kept under the same name before it from being
// collected, as name-1 and name-2. To keep once more what was kept last changes
// nothing.
func KeepTwo(name, path string) error {
	last, before := name+"-1", name+"-2"
	was := Root(last)
	if was == path {
		return nil
	}
	if was != "" {
		if err := AddRoot(before, was); err != nil {
			return err
		}
	}
	return AddRoot(last, path)
}
