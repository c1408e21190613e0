"""neon's model of a generator and a discriminator that are trained against each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.compat.neon.backends.backend import Block
from neon_optim.compat.neon.models.base import Model
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError
from neon_optim.stepping.parameters import get_param_list

__all__ = ["GAN"]


class GAN(Model):
    """A generator and a discriminator that are trained against each other.

    Arguments:
        layers: a GenerativeAdversarial container.
        noise_dim: shape of what the generator is given.
        noise_type: 'normal' or 'uniform', in [-1, 1).
        weights_only, name, optimizer: those of :class:`Model`.
        k: minibatches of data for each step of the generator.
        wgan_param_clamp: the discriminator's parameters stay within ± this; None: they are free.
        wgan_train_sched: 100 minibatches of data for each of the generator's first 25 steps, and for each 500th.

    Attributes:
        gen_iter, current_batch, last_gen_batch: steps of the generator; minibatches; the minibatch of the last step.
        data_batch, noise_batch: the last data, and what the generator makes of a fixed noise, after an epoch.

    References:
        Goodfellow et al., Generative adversarial nets, NIPS 2014. Arjovsky et al., Wasserstein GAN, ICML 2017.
    """

    def __init__(
        self,
        layers: Any,
        noise_dim: Any,
        noise_type: Any = "normal",
        weights_only: Any = False,
        name: Any = "model",
        optimizer: Any = None,
        k: Any = 1,
        wgan_param_clamp: Any = None,
        wgan_train_sched: Any = False,
    ):
        self.noise_dim, self.noise_type, self.k = noise_dim, noise_type, k
        self.wgan_param_clamp, self.wgan_train_sched = wgan_param_clamp, wgan_train_sched
        super().__init__(layers, weights_only=weights_only, name=name, optimizer=optimizer)

    @staticmethod
    def clip_param_in_layers(layer_list: Any, abs_bound: float | None = None) -> None:
        """Keep all parameters of layers within ± a bound."""
        if abs_bound:
            for (param, _), _ in get_param_list(layer_list):
                param[:] = NervanaObject.be.clip(param, -abs(abs_bound), abs(abs_bound))

    def fill_noise(self, z: Any, normal: bool = True) -> None:
        """Draw noise."""
        if normal:
            self.be.fill_normal(z)
        else:
            z[:] = 2 * self.be.rand() - 1.0

    def initialize(self, dataset: Any, cost: Any = None) -> None:
        """Tell the layers the shape of the noise, and give them their tensors; once for a model."""
        if self.initialized:
            return
        last = self.layers.configure(self.noise_dim)
        if cost is not None:
            cost.initialize(last)
            self.cost = cost
        self.layers.generator.allocate(accumulate_updates=False)
        self.layers.discriminator.allocate(accumulate_updates=True)
        self.layers.allocate_deltas()
        self.initialized = True
        self.zbuf, self.z0 = self.be.iobuf(self.noise_dim), self.be.iobuf(self.noise_dim)
        self.ybuf = self.be.iobuf((1,))
        self._draw(self.z0)
        self.cost_dis = np.empty((1,), dtype=np.float32)
        self.current_batch = self.gen_iter = self.last_gen_batch = 0

    def _draw(self, z: Any) -> None:
        self.fill_noise(z, normal=self.noise_type == "normal")

    def get_k(self, giter: int) -> int:
        """Minibatches of data before a step of the generator, whose number is ``giter``."""
        return 100 if self.wgan_train_sched and (giter < 25 or giter % 500 == 0) else self.k

    def _epoch_fit(self, dataset: Any, callbacks: Any) -> None:
        epoch, be, begin = self.epoch_index, self.be, self.gen_iter
        self.total_cost[:] = 0
        x = None
        for number, (x, _) in enumerate(dataset):
            callbacks.on_minibatch_begin(epoch, number)
            be.begin(Block.minibatch, number)
            y_data = self._train_discriminator(x, epoch)
            if self.current_batch == self.last_gen_batch + self.get_k(self.gen_iter):
                self._train_generator(y_data, epoch)
            be.end(Block.minibatch, number)
            callbacks.on_minibatch_end(epoch, number)
            self.current_batch += 1
        if self.gen_iter == begin:
            raise ArgumentError(
                f"GAN: the generator was not trained in an epoch of {dataset.nbatches} minibatches; "
                f"k is {self.get_k(self.gen_iter)}"
            )
        self.total_cost /= self.gen_iter - begin
        self.data_batch, self.noise_batch = x, self.fprop_gen(self.z0)

    def _train_discriminator(self, x: Any, epoch: int) -> Any:
        """A step on noise and data; returns the outputs for the data."""
        discriminator, costfunc = self.layers.discriminator, self.cost.costfunc
        self.clip_param_in_layers(discriminator.layers_to_optimize, self.wgan_param_clamp)
        self._draw(self.zbuf)
        y_noise = self.fprop_dis(self.fprop_gen(self.zbuf))
        self.ybuf[:] = y_noise
        self.bprop_dis(costfunc.bprop_noise(y_noise))
        discriminator.set_acc_on(True)
        y_data = self.fprop_dis(x)
        self.bprop_dis(costfunc.bprop_data(y_data))
        self.optimizer.optimize(discriminator.layers_to_optimize, epoch=epoch)
        discriminator.set_acc_on(False)
        self.cost_dis[:] = np.ravel(self.cost.get_cost(y_data, self.ybuf, cost_type="dis"))
        return y_data

    def _train_generator(self, y_data: Any, epoch: int) -> None:
        """A step on noise."""
        self._draw(self.zbuf)
        generated = self.fprop_gen(self.zbuf)
        self.ybuf[:] = y_data
        y_noise = self.fprop_dis(generated)
        self.bprop_gen(self.bprop_dis(self.cost.costfunc.bprop_generator(y_noise)))
        self.optimizer.optimize(self.layers.generator.layers_to_optimize, epoch=epoch)
        self.cost_dis[:] = np.ravel(self.cost.get_cost(self.ybuf, y_noise, cost_type="dis"))
        self.total_cost += self.cost_dis
        self.last_gen_batch = self.current_batch
        self.gen_iter += 1

    def fprop_gen(self, x: Any, inference: bool = False) -> Any:
        """The outputs of the generator."""
        return self.layers.generator.fprop(x, inference)

    def fprop_dis(self, x: Any, inference: bool = False) -> Any:
        """The outputs of the discriminator."""
        return self.layers.discriminator.fprop(x, inference)

    def bprop_dis(self, delta: Any) -> Any:
        """The backward pass of the discriminator."""
        return self.layers.discriminator.bprop(delta)

    def bprop_gen(self, delta: Any) -> Any:
        """The backward pass of the generator."""
        return self.layers.generator.bprop(delta)
