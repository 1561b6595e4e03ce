package probe

// ask is what a spec asks, of the type that the test knows it to be.
func ask[T any](spec any) *T {
	s, ok := spec.(Spec)
	if !ok {
		s = *spec.(*Spec)
	}
	return s.Ask.(any).(*T)
}
