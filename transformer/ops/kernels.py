"""The forms in which attention is computed, what each of them cannot compute, and the choice of one.

    cudnn    the fused kernel of a GPU                       jax.nn.dot_product_attention
    blocks   blocks of queries, the weights are kept         `ops.blocks`
    chunks   chunks of queries and keys, no weights are kept `ops.chunks`

All compute what the plain definition does. "fast" takes the first that can compute a call and is worth it, else the
plain way; "fused" takes the first that can, and raises where none can; the name of a form takes this one, and raises
where it cannot.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem
from transformer.ops import blocks, chunks
from transformer.ops.dropout import kept_entries
from transformer.ops.lanes import in_one_batch
from transformer.ops.mask_rules import Causal, Window
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Modifiers
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import Score, check_parameters
from transformer.ops.weights import WEIGHTS

FEW = 5
"""Fewest queries for which "fast" takes another form than the plain one; a step of generation has one, or a beam."""

MOST_KEPT = 2**26
"""Most weights of one attention that `blocks` keeps for the derivative, and that the plain form computes in "fast"."""


class Call(NamedTuple):
    """One call of attention; see `ops.attend.attend`. A choice reads the shapes and types of its arrays alone."""

    query: Array
    key: Array
    value: Array
    mask: Mask
    score: Score
    bias: Array | None = None
    parameters: dict[str, Array] | None = None
    query_index: Array | None = None
    positions: QueryKeyPositions | None = None
    modifiers: Modifiers = Modifiers()
    dropout: float | Array | None = None
    random_key: Array | None = None

    @property
    def weights(self) -> int:
        """Number of weights, B N T S."""
        B, T, N, _ = self.query.shape
        return B * N * T * self.key.shape[1]


class Form(NamedTuple):
    """A form of attention.

    Attributes:
        refusal: (call) -> the reason why it cannot compute a call; None: it can.
        is_worth: (call) -> True where "fast" takes it.
        compute: (call) -> B T N H.
    """

    refusal: Callable[[Call], str | None]
    is_worth: Callable[[Call], bool]
    compute: Callable[[Call], Array]


def _no_dot(call: Call) -> str | None:
    """Return why a call is no softmax of q . k times a constant."""
    if call.score.dot_scale is None:
        return f"the score {call.score.name!r} is not q . k times a constant"
    if call.bias is not None:
        return "a bias is added to the scores"
    return None if call.modifiers.none else _modified(call.modifiers)


def _modified(modifiers: Modifiers) -> str:
    """Return the modifiers in words."""
    if not WEIGHTS.find(modifiers.weights).is_softmax:
        return f"the weights are {str(WEIGHTS.find(modifiers.weights))!r}, no softmax"
    names = {"soft_cap": "soft cap", "function": "score modifier", "sink_N": "sink", "subtract": "difference of maps"}
    return "the scores have modifiers: " + ", ".join(names[x] for x in names if getattr(modifiers, x) is not None)


def _cudnn_refusal(call: Call) -> str | None:
    if jax.default_backend() != "gpu":
        return f"it needs an NVIDIA GPU, and this is a {jax.default_backend()}"
    if call.query.dtype not in (jnp.bfloat16, jnp.float16):
        return f"it computes bfloat16 and float16, and the queries are {call.query.dtype}"
    if call.dropout is not None:
        return "it has no dropout of weights"
    H, square = call.query.shape[-1], call.query.shape[1] == call.key.shape[1]
    if H % 8 or H > 128:
        return f"a head's width must be a multiple of 8 up to 128, and is {H}"
    if not _in_flags(call.mask):
        return "it has flags for causal and window alone, a window of known size with causal, and the mask is another"
    if call.query_index is not None:
        return "the queries stand at indices of their own"
    if call.mask.rules and not square:
        return f"there are {call.query.shape[1]} queries under a causal mask, and {call.key.shape[1]} keys"
    return _no_dot(call)


def _in_flags(mask: Mask) -> bool:
    """Return whether a mask is causal, with or without a window of known size, or allows all keys."""
    causal = any(isinstance(rule, Causal) for rule in mask.rules)
    windows = [rule for rule in mask.rules if isinstance(rule, Window)]
    known = len(windows) <= 1 and all(isinstance(rule.size, int) for rule in windows)
    return not mask.rules or (causal and known and len(mask.rules) <= 1 + len(windows))


def _cudnn(call: Call) -> Array:
    assert call.score.dot_scale is not None
    window = next((rule.size for rule in call.mask.rules if isinstance(rule, Window)), None)
    attention = functools.partial(
        jax.nn.dot_product_attention,
        scale=call.score.dot_scale(call.query.shape[-1], **call.score.own),
        is_causal=bool(call.mask.rules),
        local_window_size=None if window is None else (int(window) - 1, 0),
        implementation="cudnn",
    )
    return in_one_batch(attention)(call.query, call.key, call.value)  # JAX 0.10 has no vmap of this kernel


def _blocks_refusal(call: Call) -> str | None:
    if call.query_index is not None:
        return "the queries stand at indices of their own"
    return _no_dot(call)


def _blocks(call: Call) -> Array:
    assert call.score.dot_scale is not None
    B, T, N, H = call.query.shape
    check_parameters(call.score, call.parameters, {"N": N, "H": H})
    kept = None
    if call.dropout is not None:
        kept = kept_entries((B, N, T, call.key.shape[1]), call.dropout, call.random_key)  # as the plain form drops
    scale = call.score.dot_scale(H, **call.score.own)
    return blocks.attend_blocks(call.query, call.key, call.value, call.mask, scale, kept, call.dropout)


def _chunks_refusal(call: Call) -> str | None:
    if call.dropout is not None:
        return "it has no dropout of weights"
    if call.modifiers.subtract is not None:
        return "the weights are a difference of maps"
    return None if WEIGHTS.find(call.modifiers.weights).is_softmax else _modified(call.modifiers)


def _chunks(call: Call) -> Array:
    T, S = call.query.shape[1], call.key.shape[1]
    N, H = call.query.shape[2:]
    check_parameters(call.score, call.parameters, {"N": N, "H": H})
    index = jnp.arange(T, dtype=jnp.int32) if call.query_index is None else call.query_index
    positions = call.positions or QueryKeyPositions(index, jnp.arange(S, dtype=jnp.int32))
    arrays = chunks.Arrays(call.query, call.key, call.value, call.parameters or {}, call.bias, call.modifiers.sink_N)
    return chunks.attend_chunks(arrays, chunks.Rest(call.mask, index, positions), call.score, call.modifiers)


FORMS = {
    "cudnn": Form(_cudnn_refusal, lambda call: call.query.shape[1] >= FEW, _cudnn),
    "blocks": Form(_blocks_refusal, lambda call: call.query.shape[1] >= FEW and call.weights <= MOST_KEPT, _blocks),
    "chunks": Form(_chunks_refusal, lambda call: call.weights > MOST_KEPT, _chunks),
}
"""Name -> form, in the order of preference."""

WITH_WEIGHTS = ("plain", "fast")
"""Kernels that compute the scores and weights too, where these are requested."""

WAYS = (*WITH_WEIGHTS, "fused")
"""Kernels that choose a form for each call."""

KERNELS = (*WAYS, *FORMS)
"""All values of `model.kernels`."""


def choose(call: Call, kernels: str) -> str:
    """Return the name of the form that computes a call; "plain" for the definition.

    Args:
        kernels: one of KERNELS.

    Raises:
        UserError: unknown kernels; "fused" where no form can compute the call; the name of a form that cannot, unless
            the queries stand at indices of their own, as in a step of generation, which takes "fast" then.

    >>> from transformer.ops import masks
    >>> from transformer.ops.scores import find
    >>> x = jnp.ones((2, 32, 4, 8))
    >>> choose(Call(x, x, x, masks.causal(), find("scaled_dot")), "fast")
    'blocks'
    """
    if kernels not in KERNELS:
        raise problem("unknown kernels", got=repr(kernels), expected=" or ".join(KERNELS))
    if kernels == "plain":
        return "plain"
    refusals = {name: form.refusal(call) for name, form in FORMS.items()}
    able = [name for name, refusal in refusals.items() if refusal is None]
    worth = [name for name in able if FORMS[name].is_worth(call)]
    if kernels in able:
        return kernels
    if kernels == "fast" or (kernels in FORMS and call.query_index is not None):
        return worth[0] if worth else "plain"
    if kernels in FORMS:
        raise problem(
            f"the form {kernels!r} cannot compute this attention",
            got=refusals[kernels],
            expected=f"one of the forms that can: {', '.join(able)}" if able else "plain, since no form can",
            do="Set model.kernels=fast, which takes a form that can.",
        )
    if not able:
        raise problem(
            "no fused form computes this attention",
            got="; ".join(f"{name}: {refusal}" for name, refusal in refusals.items()),
            expected="softmax weights without dropout (chunks), or q . k without modifiers (blocks)",
            do="Set model.kernels=fast, which takes the plain form where it must.",
        )
    return (worth or able)[0]
