"""Scores of a user's own that cannot be used."""

import jax.numpy as jnp


def wrong_shape(query_BTNH, key_BSNH):
    return jnp.einsum("BTNH,BSNH->BTSN", query_BTNH, key_BSNH)[..., :1]
