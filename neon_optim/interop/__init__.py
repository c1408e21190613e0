"""Other libraries' ways of working, one module for each; none is imported until it is asked for."""
