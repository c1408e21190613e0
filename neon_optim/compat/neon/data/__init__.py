"""neon.data."""
