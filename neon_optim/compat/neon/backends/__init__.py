"""neon.backends."""
