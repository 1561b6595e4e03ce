package sshconfig

import "strings"

// matches reports whether s fits a pattern of OpenSSH, in which * stands for any text
// and ? for any byte. Its time is bounded by the product of the lengths, whatever the
// pattern.
func matches(s, pattern string) bool {
	star, resume := -1, 0
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, resume = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			resume++
			i, j = resume, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// verdict is what a list of patterns says of a text.
type verdict int

const (
	noMatch verdict = iota
	match
	excluded // by a pattern with an exclamation mark
)

// longestPattern is OpenSSH's: a longer one makes its list match nothing.
const longestPattern = 1023

// matchesList asks a list of patterns with commas between them.
func matchesList(s, list string) verdict {
	found := noMatch
	for list != "" {
		pattern, rest, _ := strings.Cut(list, ",")
		list = rest
		pattern, negated := strings.CutPrefix(pattern, "!")
		switch {
		case len(pattern) >= longestPattern:
			return noMatch
		case !matches(s, pattern):
		case negated:
			return excluded
		default:
			found = match
		}
	}
	return found
}

// matchesHost is matchesList for host names, which know no case.
func matchesHost(host, list string) verdict {
	return matchesList(lower(host), lower(list))
}

// lower changes ASCII letters only: names are bytes to OpenSSH.
func lower(s string) string {
	lowered := []byte(s)
	for i, c := range lowered {
		if c >= 'A' && c <= 'Z' {
			lowered[i] = c + ('a' - 'A')
		}
	}
	return string(lowered)
}
