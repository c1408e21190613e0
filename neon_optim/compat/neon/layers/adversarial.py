"""neon's container of two networks that play against each other."""

from __future__ import annotations

from typing import Any

from neon_optim.compat.neon.layers.sequential import LayerContainer, Sequential

__all__ = ["GenerativeAdversarial"]


class GenerativeAdversarial(Sequential):
    """A network that makes samples, and one behind it that tells them from real ones.

    Arguments:
        generator, discriminator: Sequentials.
    """

    def __init__(self, generator: Any, discriminator: Any, name: str | None = None):
        LayerContainer.__init__(self, name)
        self.generator = generator
        self.discriminator = discriminator
        self.layers = generator.layers + discriminator.layers
        self._layers = generator._layers + discriminator._layers

    def nested_str(self, level: int = 0) -> str:
        """The layers in words, indented by their levels."""
        indent = "  " * level
        lines = [indent + self.classnm]
        for title, network in (("Generator", self.generator), ("Discriminator", self.discriminator)):
            lines += [f"{indent}{title}:", *(layer.nested_str(level + 1) for layer in network.layers)]
        return "\n".join(lines)
