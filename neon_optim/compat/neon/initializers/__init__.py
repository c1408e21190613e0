"""neon.initializers."""
