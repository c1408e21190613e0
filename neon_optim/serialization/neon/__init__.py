"""neon's checkpoint files."""
