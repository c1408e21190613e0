"""neon.util."""
