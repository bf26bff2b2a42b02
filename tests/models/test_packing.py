import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, V, cases, side, tiny

SOURCE_LENGTHS, TARGET_LENGTHS = (3, 1, 5), (4, 2, 3)


def examples():
    random = np.random.default_rng(4)
    sizes = zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True)
    return [{"source": random.integers(1, V, s), "target": random.integers(1, V, t)} for s, t in sizes]


def packed(parts, padding):
    """All examples in one row, numbered from 1, with segment 0 after them."""
    row = {}
    for name in ("source", "target"):
        tokens = np.concatenate([part[name] for part in parts] + [np.full(padding, 2)])
        numbers = np.concatenate(
            [np.full(len(part[name]), i + 1) for i, part in enumerate(parts)] + [np.zeros(padding)]
        )
        row[name], row[f"{name}_segments"] = jnp.array(tokens)[None], jnp.array(numbers, jnp.int32)[None]
    return row


SETTINGS = [
    {"position": "sinusoidal"},
    {"position": "learned", "score": "bilinear", "norm_placement": "post"},
    {"position": "rotary", "window": 2},
    {"position": "none", "kernels": "fast"},
]


CORE = [
    ("encoder_only", SETTINGS[1]),
    ("rnn_seq2seq", RECURRENT[0]),
]


@pytest.mark.parametrize(
    ("architecture", "settings"), core_of(cases(ARCHITECTURES, SETTINGS), lambda case: case in CORE), ids=str
)
def test_packed_is_separate(architecture, settings):
    model, parts, name = tiny(architecture, **settings), examples(), side(architecture)
    row = model(packed(parts, padding=2))[0]
    for part in parts:
        alone = model({key: jnp.array(x)[None] for key, x in part.items()})[0]
        np.testing.assert_allclose(row[: len(alone)], alone, rtol=2e-5, atol=2e-5)
        row = row[len(part[name]) :]
    assert len(row) == 2
    assert np.isfinite(row).all()


def test_a_prefix_in_a_packed_row_stays_within_its_own_example():
    model, row = tiny("decoder_only", position="rotary", window=2), packed(examples(), padding=2)
    del row["source"], row["source_segments"]
    before = model({**row, "prefix_lengths": jnp.array([3])})
    after = model({**row, "prefix_lengths": jnp.array([3]), "target": row["target"].at[:, :4].add(-1)})
    np.testing.assert_array_equal(after[:, 4:], before[:, 4:])
