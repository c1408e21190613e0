"""neon.callbacks."""
