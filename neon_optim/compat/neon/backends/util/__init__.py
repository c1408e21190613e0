"""neon.backends.util."""
