"""Beam search: the W best beginnings of an answer are continued side by side.

A hypothesis that has ended scores log P(answer) / length ** length_penalty (Wu et al. 2016, 1609.08144, in the simple
form of `transformers`). In each step the best continuations of all beginnings are ranked by log P; of the first W those
that end are candidates for the answers, and the best W that do not end go on. An example is done where no beginning can
score better than its worst answer any more, by the bound that `early_stopping` names.

Examples do not read each other: each is done by itself, and is then left as it is.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from transformer.decoding import layout, rows
from transformer.decoding.generated import Generated
from transformer.decoding.rules import Rules, Stop
from transformer.decoding.strategies import Beam
from transformer.errors import problem
from transformer.models.base import Replace
from transformer.models.build import Model
from transformer.ops.top_k import top_k

LONG = 32
"""Least number of steps of which the first half has a cache of its own, half as long: two programs are compiled."""


class Hypotheses(NamedTuple):
    """Answers of each example, the best first, or beginnings of answers, in the order of their rows in the cache.

    Attributes:
        tokens: B W T, padding behind.
        scores: by which they are ranked, B W; -inf where there is none.
        logs: log-probability by the model, B W.
        lengths: number of tokens, B W.
    """

    tokens: Array
    scores: Array
    logs: Array
    lengths: Array

    def take(self, index_BW: Array) -> "Hypotheses":
        """Return those of these indices, in this order."""
        return Hypotheses(*(_take(x, index_BW) for x in self))


class Search(NamedTuple):
    """The state of the search.

    Attributes:
        written: number of tokens.
        running: beginnings.
        ended: answers.
        improvable_B: True where an example is not done.
        last_R: last token of each beginning; R = B W.
        cache: of the model, R rows.
        rules: states of the rules, R rows.
    """

    written: Array
    running: Hypotheses
    ended: Hypotheses
    improvable_B: Array
    last_R: Array
    cache: Any
    rules: Any


def search(model: Model, beam: Beam, rules: Rules, begun: Any, replace: Replace | None = None) -> Generated:
    """Search for the best answers of each example.

    Args:
        begun: of `generate`.
        replace: as for `model.step`.

    Raises:
        UserError: more beams than the vocabulary has tokens.

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    >>> beam = Beam(3, num_return=2)
    >>> transformer.generate(model, model.init(0), prompt, steps=2, end=2, strategy=beam).tokens.shape
    (2, 2, 2)
    """
    params, batch, logits_BV, cache, stop, *_ = begun
    (B, V), W, steps = logits_BV.shape, beam.width, rules.steps
    if W > V:
        expected, do = f"at most {V} (model.vocab_size)", "Pass a smaller width."
        raise problem("a beam is wider than the vocabulary", got=W, expected=expected, do=do)
    laid_out, cache = layout.lay_out(model, params), layout.unstacked(model, cache)
    shared = getattr(model.module, "shared_cache", ())

    def start(batch: Any, steps: int = steps) -> Any:
        return layout.unstacked(model, model.start(params, batch, steps=steps)[1])

    limits = (steps // 2, steps) if steps >= LONG and layout.has_row_for_each_token(model) else (steps,)
    sizes = [jax.eval_shape(functools.partial(start, steps=limit), batch) for limit in limits]
    axes = rows.example_axes(start, batch, cache, shared)
    none = jnp.full((B, W), -jnp.inf, jnp.float32)
    empty = Hypotheses(jnp.full((B, W, steps), stop.padding, jnp.int32), none, none, jnp.zeros((B, W), jnp.int32))
    first = none.at[:, 0].set(0.0)  # all W are the same before the first token
    first_state = Search(
        written=jnp.zeros((), jnp.int32),
        running=empty._replace(scores=first, logs=first),
        ended=empty,
        improvable_B=jnp.ones(B, bool),
        last_R=jnp.zeros(B * W, jnp.int32),
        cache=rows.repeat(rows.resize(cache, sizes[-1], sizes[0]), axes, W),
        rules=jax.tree.map(lambda x: jnp.repeat(x, W, axis=0), rules.start(batch, B)),
    )

    def extend(found: Search, logits_RV: Array) -> Search:
        return _extended(found, logits_RV, beam, stop, rules, axes)

    def advance(found: Search) -> Search:
        logits_RV, cache, _ = model.step(laid_out, found.last_R, found.cache, replace=replace)
        return extend(found._replace(cache=cache), logits_RV)

    def unfinished(limit: int, found: Search) -> Array:
        return (found.written < limit) & jnp.any(found.improvable_B)

    found = extend(first_state, jnp.repeat(logits_BV, W, axis=0))
    for limit, before, size in zip(limits, [sizes[0], *sizes], sizes, strict=False):
        found = found._replace(cache=rows.resize(found.cache, before, size))
        found = jax.lax.while_loop(functools.partial(unfinished, limit), advance, found)
    ended = found.ended
    unknown_B1 = jnp.isnan(jnp.max(logits_BV, axis=-1, keepdims=True))
    answers = Generated(ended.tokens, ended.lengths, jnp.where(unknown_B1, jnp.nan, ended.logs))
    return jax.tree.map(lambda x: x[:, 0] if beam.num_return is None else x[:, : beam.num_return], answers)


def _extended(found: Search, logits_RV: Array, beam: Beam, stop: Stop, rules: Rules, axes: Any) -> Search:
    """Continue each beginning by a token, given the logits of the next one."""
    (B, W), V = found.running.scores.shape, logits_RV.shape[-1]

    # As many as there must be for W of them not to end; those of an example are among those of its beginnings.
    count = W * max(2, 1 + len(stop.ends))
    tokens = _best_tokens(found, logits_RV.astype(jnp.float32), rules, min(count, V))
    token_BC, rank_BC, log_BC = (x.reshape(B, -1) for x in tokens)
    each = token_BC.shape[1] // W
    total_BC = jnp.repeat(found.running.scores, each, axis=1) + rank_BC
    score_BK, candidate_BK = jax.lax.top_k(total_BC, min(count, W * each))
    parent_BK, token_BK = candidate_BK // each, _take(token_BC, candidate_BK)
    log_BK = _take(found.running.logs, parent_BK) + _take(log_BC, candidate_BK)
    written_BKT = _take(found.running.tokens, parent_BK).at[:, :, found.written].set(token_BK)
    length = found.written + 1
    candidates = Hypotheses(written_BKT, score_BK, log_BK, jnp.full_like(token_BK, length))

    last_B1 = (length >= rules.steps) | (found.cache["remaining"].reshape(B, W)[:, :1] <= 0)
    ends_BK = stop.is_end(token_BK) | last_B1
    takes_BK = ends_BK & (jnp.arange(ends_BK.shape[1], dtype=jnp.int32) < W)[None] & found.improvable_B[:, None]
    scaled_BK = score_BK / length.astype(jnp.float32) ** beam.length_penalty
    answers = candidates._replace(scores=jnp.where(takes_BK, scaled_BK, -jnp.inf))
    both = Hypotheses(*(jnp.concatenate(pair, axis=1) for pair in zip(found.ended, answers, strict=True)))
    ended = both.take(jax.lax.top_k(both.scores, W)[1])

    score_BW, chosen_BW = jax.lax.top_k(jnp.where(ends_BK, -jnp.inf, score_BK), W)
    order_BW = rows.in_place(_take(parent_BK, chosen_BW))
    score_BW, chosen_BW = _take(score_BW, order_BW), _take(chosen_BW, order_BW)
    running = candidates.take(chosen_BW)._replace(scores=score_BW)
    row_R = (_take(parent_BK, chosen_BW) + W * jnp.arange(B, dtype=jnp.int32)[:, None]).reshape(-1)
    last_R = _take(token_BK, chosen_BW).reshape(-1)
    state = jax.tree.map(lambda x: x[row_R], found.rules)
    return Search(
        written=length,
        running=running,
        ended=ended,
        improvable_B=found.improvable_B & ~last_B1[:, 0] & _improvable(running, ended, length, beam, rules.steps),
        last_R=last_R,
        cache=rows.copy(found.cache, axes, row_R),
        rules=rules.read(state, last_R, found.written),
    )


def _best_tokens(found: Search, logits_RV: Array, rules: Rules, count: int) -> tuple[Array, Array, Array]:
    """Return the best tokens to continue each beginning with, by what they are ranked, and their log-probabilities.

    Without rules both are the same, and are computed of the best tokens alone.
    """
    total_R1 = jax.nn.logsumexp(logits_RV, axis=-1, keepdims=True)

    def logs_of(logits: Array) -> Array:
        return jnp.where(jnp.isnan(total_R1), -jnp.inf, logits - total_R1)

    if not rules.rules:
        logit_RN, token_RN = top_k(logits_RV, count)
        return token_RN, logs_of(logit_RN), logs_of(logit_RN)
    logs_RV = logs_of(logits_RV)
    rank_RN, token_RN = top_k(rules.apply(logs_RV, found.rules, found.written), count)
    return token_RN, rank_RN, jnp.take_along_axis(logs_RV, token_RN, axis=1, mode="clip")


def _improvable(running: Hypotheses, ended: Hypotheses, length: Array, beam: Beam, steps: int) -> Array:
    """Return whether a beginning of each example may still score better than its worst answer, B."""
    worst_B = ended.scores[:, -1]
    most = jnp.asarray(steps, jnp.int32) if beam.early_stopping == "never" and beam.length_penalty > 0 else length
    best_B = jnp.max(running.scores, axis=1) / most.astype(jnp.float32) ** beam.length_penalty
    improvable_B = best_B > worst_B
    return improvable_B & (worst_B == -jnp.inf) if beam.early_stopping is True else improvable_B


def _take(x: Array, index_BK: Array) -> Array:
    """Take entries of the second axis, for each example its own."""
    return jnp.take_along_axis(x, index_BK.reshape(*index_BK.shape, *[1] * (x.ndim - 2)), axis=1, mode="clip")
