"""YAML text and the objects that it describes."""
