"""This package within Intel's neon: neon's own tensors and op-trees, run by our backends."""
