"""From a list of layers to Programs that a backend runs: the numbers of a step, parameters, plans."""
