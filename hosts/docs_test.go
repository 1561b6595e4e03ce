package hosts

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const reference = "../docs/deploy-toml.md"

var tomlBlock = regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")

func tomlBlocks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range tomlBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no toml block", file)
	}
	return blocks
}

// tables are the keys of every kind of table, by the heading of the section that
// describes it.
func tables() map[string][]string {
	return map[string][]string{
		"Top level":    keyNames(fileKeys()),
		"Hosts":        append(keyNames(ownKeys()), append(keyNames(levelKeys()), "profiles")...),
		"Profiles":     keyNames(profileKeys()),
		"Confirmation": keyNames(confirmKeys()),
		"Passwords":    keyNames(passwordKeys()),
		"Timeouts":     keyNames(timeoutKeys()),
		"Jump hosts":   keyNames(jumpKeys()),
		"Probes":       append(keyNames(probeKeys()), "kind"),
		"Lists":        {extend},
	}
}

// Every key that the package reads has a row in the section about its table, and
// stands in an example.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Join(tomlBlocks(t, reference), "\n")
	for heading, keys := range tables() {
		section := sectionOf(t, string(text), heading)
		for _, key := range keys {
			name := regexp.QuoteMeta(key)
			if !regexp.MustCompile("`[^`]*\\b" + name + "\\b[^`]*`").MatchString(section) {
				t.Errorf("%q is described nowhere in the section %s of %s", key, heading, reference)
			}
			if !regexp.MustCompile(`(?m)(^\[([\w-]+\.)*` + name + `\b|(^|[{,])\s*` + name + ` *=)`).MatchString(examples) {
				t.Errorf("%q stands in no example of %s", key, reference)
			}
		}
	}
}

// Every row of a table of keys is about keys that there are.
func TestNoOtherKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for heading, known := range tables() {
		for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(sectionOf(t, string(text), heading), -1) {
			for _, key := range regexp.MustCompile("`\\[?(\\w+)[^`]*`").FindAllStringSubmatch(row[1], -1) {
				if !slices.Contains(known, key[1]) {
					t.Errorf("section %s of %s describes %q, which is not read", heading, reference, key[1])
				}
			}
		}
	}
}

// What a range or a default is, the documentation says as the decoder does.
func TestDocumentedDefaultsAndRanges(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	checkRows(t, sectionOf(t, string(text), "Hosts"), levelKeys(), settings{Host: NewHost("")})
	checkRows(t, sectionOf(t, string(text), "Timeouts"), timeoutKeys(), NewHost("").Timeouts)
	checkRows(t, sectionOf(t, string(text), "Jump hosts"), jumpKeys(), Jump{})
}

func checkRows[T any](t *testing.T, section string, keys []key[T], defaults T) {
	t.Helper()
	for _, k := range keys {
		row := regexp.MustCompile("(?m)^\\| [^|]*`" + k.name + "`[^|]*\\|.*$").FindString(section)
		if k.show != nil {
			if value := k.show(defaults); value != nil && !strings.Contains(row, "`"+tomlValue(value)+"`") {
				t.Errorf("the row of %s does not say that the default is %s: %s", k.name, tomlValue(value), row)
			}
		}
		if words, ok := k.schema(Kinds{})["enum"].([]string); ok {
			for _, word := range words {
				if !strings.Contains(row, strconv.Quote(word)) {
					t.Errorf("the row of %s does not name %q", k.name, word)
				}
			}
		}
	}
}

func sectionOf(t *testing.T, text, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %s", reference, heading)
	}
	section, _, _ := strings.Cut(after, "\n## ")
	return section
}
