"""The activations of a model, and what its embedding and its head read, for a caller who looks inside."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from transformer.axes import check_shape, describe
from transformer.errors import problem, unknown
from transformer.models import entries, faults
from transformer.models.config import ModelConfig
from transformer.models.reads import Parts
from transformer.nn.block_layout import ends_with_norm
from transformer.nn.heads import require_token_head
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import structure
from transformer.nn.names import layer_sites, parse_name
from transformer.ops.kernels import WITH_WEIGHTS


class Site(NamedTuple):
    """An activation of a model, for one batch.

    Attributes:
        axes: letters of the legend, such as "L B T N H"; L is the layer. 2N: two maps of scores for each head.
        shape: their sizes.
        dtype: its type.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: DTypeLike


def of_stacks(config: ModelConfig, stacks: Mapping[str, Parts]) -> dict[str, tuple[str, ...]]:
    """List the activations of whole stacks: the logits are the last one's."""
    recurrent, last = structure(config.architecture).recurrent, list(stacks)[-1]

    def has(stack: str) -> dict[str, bool]:
        norm = not recurrent and bool(stacks[stack]) and ends_with_norm(config.as_settings)
        head = config.token_head.present or config.class_head.classes is not None
        return {"embedding": True, "final_norm": norm, "logits": head and stack == last}

    return {stack: tuple(site for site, there in has(stack).items() if there) for stack in stacks}


def of_layers(config: ModelConfig) -> dict[str, str]:
    """Return the activations that a layer of a config's model may record, and their axes."""
    return layer_sites(MIXERS.of(config, "mixer").sites)


def names_of(config: ModelConfig, stacks: Mapping[str, Parts]) -> tuple[str, ...]:
    """List the names of all activations that can be captured, in the order in which they are computed."""
    names, whole, sites = [], of_stacks(config, stacks), of_layers(config)
    for stack, parts in stacks.items():
        layers = [f"{stack}.*.{site}" for site in sites if site.partition(".")[0] in parts]
        recorded = [
            name for name in layers if config.kernels in WITH_WEIGHTS or not parse_name(name, sites).needs_weights
        ]
        first, *others = [f"{stack}.{site}" for site in whole[stack]]
        names += [first, *recorded, *others]
    return tuple(names)


def axes_of(text: str, config: ModelConfig) -> str:
    """Return the axes of a captured activation; in an encoder T is S, where there is no other S."""
    name = parse_name(text, of_layers(config))
    axes = name.axes
    if name.site == "logits" and config.class_head.classes is not None:
        axes = "B C"
    if name.stack == "encoder" and "S" not in axes:
        axes = axes.replace("T", "S")
    if name.site.endswith(".scores") and config.attention.differential:
        axes = axes.replace("N", "2N")
    return axes if name.of_stack else f"L {axes}"


class EmbeddingInputs(NamedTuple):
    """The inputs of a model's embedding.

    Attributes:
        tokens_BT, positions, types_BT: tokens, their positions, and their types where they are given.
        side: "source" or "target".
        unknown_BT: booleans, True for tokens that may be outside of the vocabulary; None where all are known.
    """

    tokens_BT: Array
    positions: Array
    types_BT: Array | None
    side: str
    unknown_BT: Any


def embedding_inputs(config: ModelConfig, tokens: Any, side: str | None, types: Any) -> EmbeddingInputs:
    """Return the inputs of a model's embedding. Raises UserError as `Model.embed`."""
    sides = structure(config.architecture).sides
    if side is None and len(sides) > 1:
        do = f"Pass side={sides[0]!r} or side={sides[1]!r}."
        raise problem("this model embeds a source and a target", got="no side", do=do)
    side = sides[0] if side is None else side
    if side not in sides:
        raise unknown(f"side of architecture {str(config.architecture)!r}", str(side), sides)
    sizes: dict[str, int] = {}
    checked = {"tokens": (entries.whole_numbers("tokens", tokens), config.vocab_size or 0)}
    if types is not None:
        if side != "source" or not config.embedding.types:
            raise problem("this embedding has no token types", got=f"types of side {side!r}", do="Leave them out.")
        checked["types"] = (entries.whole_numbers("types", types), config.embedding.types)
    found = []
    for name, (array, size) in checked.items():
        check_shape(name, array, "B T", sizes)
        found.append(faults.outside(name, array, size))
    left = faults.check(found, {name: array for name, (array, _) in checked.items()})
    arrays = {name: jnp.asarray(array) for name, (array, _) in checked.items()}
    unknown_BT = None
    for fault in left:
        unknown_BT = fault.where if unknown_BT is None else unknown_BT | fault.where
    positions = jnp.arange(sizes["T"], dtype=jnp.int32)
    return EmbeddingInputs(arrays["tokens"], positions, arrays.get("types"), side, unknown_BT)


def hidden_states(config: ModelConfig, hidden: Any) -> Array:
    """Return hidden states for a model's head, checked. Raises UserError as `Model.unembed`."""
    require_token_head(config.as_settings)
    dtype, shape = getattr(hidden, "dtype", None), getattr(hidden, "shape", ())
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or not shape or shape[-1] != config.width:
        expected = f"floats ... D with D = {config.width} (model.width)"
        raise problem("hidden states do not fit", got=describe(hidden), expected=expected)
    return jnp.asarray(hidden)
