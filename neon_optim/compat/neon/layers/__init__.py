"""neon.layers."""
