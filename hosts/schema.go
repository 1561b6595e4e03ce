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
	text, err := json.Marshal(root)
	var plain map[string]any
	if err == nil {
		err = json.Unmarshal(text, &plain)
	}
	if err != nil {
		return nil, fmt.Errorf("write the schema: %v", err)
	}
	share(plain)
	if text, err = json.MarshalIndent(plain, "", "  "); err != nil {
		return nil, fmt.Errorf("write the schema: %v", err)
	}
	return append(text, '\n'), nil
}

// share moves the descriptions of keys that several tables have to one place.
func share(root map[string]any) {
	count := map[string]int{}
	eachProperty(root, func(properties map[string]any, key string) { count[asText(properties[key])]++ })
	definitions := map[string]any{}
	names := map[string]string{}
	eachProperty(root, func(properties map[string]any, key string) {
		const worthwhile = 80 // bytes; a reference takes some, too
		text := asText(properties[key])
		if count[text] < 2 || len(text) < worthwhile {
			return
		}
		name, known := names[text]
		for n := 1; !known; n++ {
			name = key
			if n > 1 {
				name = fmt.Sprintf("%s-%d", key, n)
			}
			if _, taken := definitions[name]; !taken {
				definitions[name], names[text], known = properties[key], name, true
			}
		}
		properties[key] = map[string]any{"$ref": "#/definitions/" + name}
	})
	root["definitions"] = definitions
}

// asText is a schema as a key of a map: JSON sorts what it writes.
func asText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}

// eachProperty calls do for every property of every table in a schema, the outer ones
// first. It looks into what do has left there.
func eachProperty(value any, do func(properties map[string]any, key string)) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			eachProperty(item, do)
		}
	case map[string]any:
		if properties, ok := value["properties"].(map[string]any); ok {
			for _, key := range sortedNames(properties) {
				do(properties, key)
			}
		}
		for _, key := range sortedNames(value) {
			eachProperty(value[key], do)
		}
	}
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
