"""The compiled engine: the source of a function for each stage, its machine code, a cache of it."""
