"""neon.transforms."""
