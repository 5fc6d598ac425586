"""The definitions language: from YAML to checked trees (`loading`, `check`), from trees to what the engine runs (`compiler`)."""
