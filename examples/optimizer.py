"""An optimizer of one's own: sign descent with momentum (signSGD, Bernstein et al. 2018)."""

import jax.numpy as jnp
import optax

from experiments import api
from experiments.training.optimizers import Optimizer, decay


def sign_descent(config, hyperparameters, axes):
    sign = optax.stateless_with_tree_map(lambda direction, _: jnp.sign(direction))
    return optax.chain(optax.trace(hyperparameters.beta1), sign, decay(hyperparameters, axes))


api.register("optimizer", "sign", Optimizer(sign_descent, reads=("beta1",)))
