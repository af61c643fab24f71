"""Resources at the edges: protobuf messages (convert), dicts (documents), YAML, JSON and TOML files (files)."""
