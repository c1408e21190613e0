"""neon.models."""
