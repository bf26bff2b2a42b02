"""Answers are functions of their example alone: not of the batch, the order, the padding and the lengths of others."""

import jax
import numpy as np
import pytest

from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import V, tiny
from transformer.decoding import Beam, Greedy, Sampling, generate

SOURCES, STEPS, ENDS = 64, 6, (3, 9, 14, 20)
TIE = 1e-5
"""Difference of two scores below which rounding may decide."""


def examples(architecture):
    """Sources and prompts of several lengths."""
    random, batch = np.random.default_rng(0), {}
    for side, longest in (("source", 6), ("target", 4)):
        lengths = random.integers(1, longest + 1, SOURCES)
        tokens = random.integers(1, V, (SOURCES, longest))
        batch |= {side: tokens, f"{side}_lengths": lengths}
    return {name: x for name, x in batch.items() if architecture == "seq2seq" or name.startswith("target")}


def padded(batch, more):
    """The batch with padding of tokens that may not be read."""
    return {
        name: np.pad(x, [(0, 0), (0, more)], constant_values=V + 7) if x.ndim == 2 else x for name, x in batch.items()
    }


def in_batches(run, batch, size, order):
    """The answers to examples in this order, `size` at once, in the order of the examples."""
    parts, keys = [], jax.random.split(jax.random.key(1), SOURCES)
    for rows in np.split(order, range(size, SOURCES, size)):
        rows_of_batch = np.resize(rows, size)  # the last batch is filled with its own
        found = run({name: x[rows_of_batch] for name, x in batch.items()}, keys[rows_of_batch])
        parts.append([np.asarray(x)[: len(rows)] for x in (found.tokens, found.lengths, found.scores)])
    back = np.argsort(order)
    return [np.concatenate(x)[back] for x in zip(*parts, strict=True)]


BEAM = Beam(4)
STRATEGIES = {"greedy": Greedy(), "beam": BEAM, "sampling": Sampling(1.5, top_p=0.9)}


@pytest.mark.parametrize("strategy", core_of(STRATEGIES.values(), lambda one: one == BEAM), ids=STRATEGIES)
@pytest.mark.parametrize("architecture", core_of(("decoder_only", "seq2seq"), lambda name: name == "seq2seq"))
def test_answers_to_64_sources_are_the_same_in_batches_of_any_size_order_and_padding(architecture, strategy):
    model, batch = tiny(architecture, position="learned"), examples(architecture)
    params = jax.tree_util.tree_map_with_path(lambda path, x: x / 2 if path[-1].key == "table" else x, model.params)

    @jax.jit
    def run(batch, keys):
        key = keys if strategy.random else None
        return generate(model.model, params, batch, steps=STEPS, end=ENDS, strategy=strategy, key=key)

    together = in_batches(run, batch, SOURCES, np.arange(SOURCES))
    assert len({tuple(row) for row in together[0]}) > SOURCES // 3
    assert len(set(together[1])) > 2
    shuffled = np.random.default_rng(1).permutation(SOURCES)
    ties = 0
    for size, more, order in [(1, 3, np.arange(SOURCES)), (7, 0, shuffled), (SOURCES, 3, shuffled)]:
        tokens, lengths, scores = in_batches(run, padded(batch, more), size, order)
        differ = np.flatnonzero((tokens != together[0]).any(axis=1))
        ranks = [score / length for score, length in ((scores, lengths), together[:0:-1])]
        assert (np.abs(ranks[0] - ranks[1])[differ] < TIE).all(), (size, more, differ)
        ties += len(differ)
        alike = np.setdiff1d(np.arange(SOURCES), differ)
        np.testing.assert_allclose(scores[alike], together[2][alike], rtol=0, atol=2e-5)
    print(f"{ties} of {3 * SOURCES} answers of {architecture} were decided by less than {TIE}")
