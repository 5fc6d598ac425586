"""The definitions language: YAML to checked trees (`loading`, `check`), trees to what the engine runs (`compiler`)."""
