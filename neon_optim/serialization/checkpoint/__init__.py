"""Training state and the verified files that hold it."""
