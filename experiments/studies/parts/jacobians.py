"""Sizes of the blocks of a Jacobian, |dc_i / dx_j| (Frobenius norm), of a function of rows and of a model's tokens."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer import Model


def blocks(function: Callable[[Array], Array], x_SD: Array) -> Float[Array, "T S"]:
    """Compute |df_t / dx_s|."""
    return jnp.sqrt(jnp.sum(jax.jacrev(function)(x_SD) ** 2, axis=(1, 3)))


def by_token(model: Model, key: Array, T: int, S: int) -> tuple[Float[Array, "T S"], Float[Array, "T T"]]:
    """Compute |dhidden_t / dembedding| of the source's and of the target's tokens, at random parameters.

    All S + T tokens differ and one table holds them, so the gradient of a row of the table is that of the one position
    where its token stands.

    Args:
        model: has S + T tokens or more; its last hidden states, of which the logits are a function, are differentiated.
    """
    batch = {"source": jnp.arange(S)[None], "target": S + jnp.arange(T)[None]}
    hidden, table_VD = of_table(model, model.init(key), batch)
    found_TV = blocks(hidden, table_VD)
    return found_TV[:, :S], found_TV[:, S : S + T]


def of_table(model: Model, params: Any, batch: Mapping[str, Array]) -> tuple[Callable[[Array], Array], Array]:
    """Return the function from the one table of embeddings, V D, to the last hidden states, T D, and the table."""
    leaves, structure = jax.tree.flatten(params)
    axes = jax.tree.leaves(model.parameter_axes(params), is_leaf=lambda x: hasattr(x, "letters"))
    (index,) = (i for i, own in enumerate(axes) if own.letters == ("V", "D"))

    def hidden(table_VD: Array) -> Array:
        changed = jax.tree.unflatten(structure, [*leaves[:index], table_VD, *leaves[index + 1 :]])
        return cast(Array, model.apply(changed, batch)["hidden"][0])

    return hidden, leaves[index]
