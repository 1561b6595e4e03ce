package hosts

import (
	"encoding/json"
	"fmt"
	"time"
)

// schema is a JSON schema, draft 7: that is what the TOML plugins of editors know.
type schema map[string]any

// SchemaURL is where the schema of deploy.toml is published. A first line
// "#:schema URL" makes editors complete and check the file by it.
const SchemaURL = "https://raw.githubusercontent.com/hbohlen/hdeploy/main/docs/deploy.schema.json"

const (
	namePattern     = `^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$`
	accountPattern  = `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`
	durationPattern = `^[+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
)

// Schema returns the JSON schema of deploy.toml with these kinds of probes. It is
// made of the keys that the decoder reads. What no schema can say, such as which
// names are defined, only [Load] finds.
func Schema(kinds Kinds) ([]byte, error) {
	root := tableSchema(kinds, fileKeys())
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["$id"] = SchemaURL
	root["title"] = "deploy.toml of hdeploy"
	root["required"] = []string{"hosts"}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %v", err)
	}
	return append(text, '\n'), nil
}

func textSchema(pattern string) schema {
	if pattern == "" {
		return schema{"type": "string"}
	}
	return schema{"type": "string", "pattern": pattern}
}

func durationSchema(least, most time.Duration) schema {
	s := textSchema(durationPattern)
	s["description"] = fmt.Sprintf("From %s to %s.", short(least), short(most))
	return s
}

// listSchema is a list that replaces what the level before says, or extends it.
func listSchema(pattern string) schema {
	list := schema{"type": "array", "items": textSchema(pattern), "uniqueItems": true}
	return schema{"anyOf": []schema{
		list,
		{"type": "object", "properties": schema{extend: list}, "required": []string{extend}, "additionalProperties": false},
	}}
}

// tableSchema is a table with these keys and no others.
func tableSchema[T any](kinds Kinds, keys []key[T]) schema {
	properties := schema{}
	for _, k := range keys {
		properties[k.name] = described(k.schema(kinds), k.about)
	}
	return closedSchema(properties)
}

func closedSchema(properties schema) schema {
	return schema{"type": "object", "properties": properties, "additionalProperties": false}
}

// described puts what a key means before what its form has to say.
func described(s schema, about string) schema {
	if more, ok := s["description"].(string); ok {
		about += " " + more
	}
	s["description"] = about
	return s
}

// namedSchema is a table of tables, each with a name.
func namedSchema(each schema) schema {
	return schema{"type": "object", "propertyNames": schema{"pattern": namePattern}, "additionalProperties": each}
}
