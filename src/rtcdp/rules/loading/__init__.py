"""YAML to checked definitions, and to their normal form; whatever is wrong has its place."""
