"""Training state and the one verified file that holds it."""
