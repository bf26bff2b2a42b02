"""The properties of a part of a model: each finds a row without it, and a row of the project has them all."""

import jax
import jax.numpy as jnp
import pytest

from transformer.ops.scores import dot
from transformer.tables import TABLES
from transformer.testing import AXES, check
from transformer.testing.examples import Size

SMALL = Size(2, 3, 1, 4)


def leaking(query_BTNH, key_BSNH):
    """A score that reads all keys, those of later tokens and of padding as well."""
    return dot(query_BTNH, key_BSNH) * key_BSNH.mean()


def without_gradient(query_BTNH, key_BSNH):
    return dot(jax.lax.stop_gradient(query_BTNH), key_BSNH)


def otherwise_compiled(x):
    return jax.nn.relu(x) * (2.0 if isinstance(x, jax.core.Tracer) else 1.0)


def called_back(x):
    return jax.lax.stop_gradient(jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x))


def coarse(query_BTNH, key_BSNH):
    return dot(query_BTNH, key_BSNH) * (1.0 if query_BTNH.dtype == jnp.float32 else 9.0)


def found(axis, row, name):
    example = AXES[axis].example.make(TABLES[axis].find(row), {}, SMALL)
    return dict(AXES[axis].properties)[name](example)


@pytest.mark.more
@pytest.mark.parametrize("name", ["padding", "packed"])
def test_a_score_that_reads_other_tokens_is_found(name):
    assert found("score", leaking, name)
    assert found("score", dot, name) is None


@pytest.mark.more
@pytest.mark.parametrize(
    ("axis", "row", "name"),
    [
        ("activation", otherwise_compiled, "jit"),
        ("activation", otherwise_compiled, "scanned"),
        ("score", coarse, "bfloat16"),
        ("score", without_gradient, "gradients"),
    ],
)
def test_a_fault_is_found_by_its_property(axis, row, name):
    assert found(axis, row, name)


@pytest.mark.more
def test_an_activation_that_cannot_be_side_by_side_is_found():
    with pytest.raises(NotImplementedError, match="vmap"):
        found("activation", called_back, "lanes")


@pytest.mark.more
def test_a_score_of_the_project_passes_and_one_that_leaks_is_found():
    assert check("score", "additive").passed
    results = {result.property: result for result in check("score", leaking).results}
    for name in ("future", "padding", "cached", "packed"):
        assert results[name].result == "FAILS"
    assert "gradient on the token at" in results["future"].detail
    for name in ("scanned", "jit", "lanes", "bfloat16", "gradients", "nothing"):
        assert results[name].result == "holds", results[name]
