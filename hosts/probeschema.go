package hosts

import "strings"

// hostsSchema is the schema of all hosts.
func hostsSchema(kinds Kinds) schema {
	host := levelSchema(kinds, append(ownKeys(), levelKeys()...))
	properties := host["properties"].(schema)
	properties["profiles"] = described(namedSchema(profileSchema(kinds)), "What is deployed beside the system, or instead of it.")
	all := namedSchema(host)
	all["minProperties"] = 1
	return all
}

// levelSchema is that of a table of a host's settings, with their defaults. Some
// follow from other settings, and have none that an editor could show.
func levelSchema(kinds Kinds, keys []key[settings]) schema {
	table := tableSchema(kinds, keys)
	for _, s := range settingsOf("", keys, settings{Host: NewHost("")}) {
		if s.Value == nil || isOneOf(s.Key, []string{"address", "attribute", "elevation"}) {
			continue
		}
		at := table
		for name := range strings.SplitSeq(s.Key, ".") {
			at = at["properties"].(schema)[name].(schema)
		}
		at["default"] = s.Value
	}
	return table
}

// profileSchema lets only a custom profile have commands of its own.
func profileSchema(kinds Kinds) schema {
	profile := tableSchema(kinds, profileKeys())
	profile["if"] = schema{"properties": schema{"kind": schema{"const": KindCustom}}, "required": []string{"kind"}}
	profile["then"] = schema{"required": []string{"attribute", "activate"}}
	profile["else"] = schema{"properties": schema{"activate": false, "rollback": false, "check": false}}
	return profile
}

// probesSchema is the schema of all probes: the presets by their names, and any
// other by its kind.
func probesSchema(kinds Kinds) schema {
	presets := schema{}
	var any []schema
	for _, kind := range kinds.All {
		any = append(any, probeSchema(kind, "kind"))
		if kind.Preset {
			presets[kind.Name] = probeSchema(kind)
		}
	}
	all := namedSchema(schema{"anyOf": any})
	all["properties"] = presets
	return all
}

func probeSchema(kind Kind, required ...string) schema {
	properties, required := paramsSchema(kind.Params, required)
	for name, s := range tableSchema(Kinds{}, probeKeys())["properties"].(schema) {
		properties[name] = s
	}
	properties["kind"] = schema{"const": kind.Name}
	if len(kind.Vantages) > 0 {
		properties["from"] = schema{"enum": kind.Vantages, "description": "Where it runs."}
	}
	s := closedSchema(properties)
	s["title"] = kind.Name
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// paramsSchema is the schema of each parameter, and what is required with them.
func paramsSchema(params []Param, required []string) (schema, []string) {
	properties := schema{}
	for _, p := range params {
		s := p.schema()
		properties[p.Name] = s
		if p.Type == Units {
			// Either spelling will do, which only [Load] judges.
			for _, name := range p.spellings() {
				properties[name] = s
			}
		} else if p.Required {
			required = append(required, p.Name)
		}
	}
	return properties, required
}

func (p Param) schema() schema {
	text := textSchema("")
	if len(p.Words) > 0 {
		text["enum"] = p.Words
	}
	switch p.Type {
	case Number:
		return schema{"type": "integer"}
	case Flag:
		return schema{"type": "boolean"}
	case Duration:
		return textSchema(durationPattern)
	case Texts:
		return schema{"type": "array", "items": text}
	case Units:
		return schema{"anyOf": []schema{text, {"type": "array", "items": text, "uniqueItems": true}}}
	case Tables:
		properties, required := paramsSchema(p.Of, nil)
		each := closedSchema(properties)
		if len(required) > 0 {
			each["required"] = required
		}
		return schema{"type": "array", "items": each}
	case Text, Unit:
	}
	return text
}
