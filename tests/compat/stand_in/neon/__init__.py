"""A small stand-in for Intel's neon: its public contract as far as backends and optimizers go, written for tests."""


class NervanaObject:
    be = None
