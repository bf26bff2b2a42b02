"""Heads: what they attend to, one against several, ways of projecting; verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import heads
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts import projections, text
from tests.fixtures.speeds import core_of


@pytest.mark.more
def test_a_head_that_is_switched_off_is_one_x(tiny_text):
    model = transformer.build(dict(architecture="decoder_only", vocab_size=256, width=6, num_heads=3, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(2, 5)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    found = heads.switched_off(model, params, batch)
    off = model.apply(params, batch, replace={"decoder.1.self.head.2": jnp.zeros_like})["logits"]
    nats = -jax.nn.log_softmax(off)[jnp.arange(2)[:, None], jnp.arange(5), batch["labels"]].mean()
    np.testing.assert_allclose(found["off_LN"][1, 2], nats, rtol=1e-5)
    assert abs(float(found["all_on"] - nats)) > 1e-4


def test_what_heads_share_and_how_far_back_they_attend(tiny_text):
    model = transformer.build(dict(architecture="decoder_only", vocab_size=256, width=6, num_heads=3, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(2, 5)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    found = heads.attention_statistics(model, params, batch)
    weights = np.asarray(model.apply(params, batch, capture=(heads.WEIGHTS,))["captured"][heads.WEIGHTS])
    pairs = [np.minimum(weights[:, :, a], weights[:, :, b]).sum(-1).mean((1, 2)) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found["shared_L"], np.mean(pairs, axis=0), rtol=1e-5)
    back = sum(weights[..., s] * (np.arange(5) - s) for s in range(5))
    np.testing.assert_allclose(found["distance_LN"], back.mean((1, 3)), rtol=1e-5)


def test_heads_with_equal_weights_are_one_wide_head_and_no_others():
    found = projections.concatenated(jax.vmap(jax.random.key)(jnp.arange(3)), heads=2, head_width=3, length=4)
    assert np.all(found["alike"] < projections.SAME)
    query, keys, value = np.asarray(jax.random.normal(jax.random.key(0), (3, 1, 4, 2, 3)), float)[:, 0]

    def attend(q, k, v):
        scores = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
        return scores / scores.sum(-1, keepdims=True) @ v

    several = np.concatenate([attend(query[:, n], keys[:, n], value[:, n]) for n in range(2)], axis=-1)
    one = attend(*(x.reshape(4, 6) for x in (query, keys, value)))
    np.testing.assert_allclose(found["own"][0], np.abs(several - one).max() / np.abs(one).max(), rtol=1e-4)


def identities(params, way, width, heads):
    """Parameters of the linear way whose projections change nothing, from those of another."""
    eye = jnp.eye(width)
    own = {"kernel": eye.reshape(width, heads, -1), "bias": jnp.zeros((heads, width // heads))}
    last = {"kernel": eye.reshape(heads, -1, width), "bias": jnp.zeros(width)}
    taken = {"query": own, "key": own, "value": own} if way == projections.NONE else {}
    return {**params, **{f"self_{i}": {**params.get(f"self_{i}", {}), **taken, "output": last} for i in range(2)}}


@pytest.mark.more
@pytest.mark.parametrize("way", [projections.NONE, projections.NO_OUTPUT])
def test_a_way_without_a_projection_is_the_linear_one_with_the_identity(way):
    shape = dict(vocab_size=9, num_layers=2, width=8, feed_forward_width=200)
    model = projections.model_of(way, heads=2, **shape)
    as_wide = {**shape, "feed_forward_width": model.config.feed_forward_width}
    linear = projections.model_of(projections.LINEAR, heads=2, **as_wide)
    params = model.init(jax.random.key(0))
    batch = {"source": jnp.arange(12).reshape(2, 6) % 9}
    expected = linear.apply(identities(params, way, 8, 2), batch)["logits"]
    np.testing.assert_allclose(model.apply(params, batch)["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("way", core_of(projections.WAYS, lambda way: way == projections.MLP))
def test_ways_of_projecting_have_as_many_parameters_and_are_causal(way):
    shape = dict(vocab_size=9, num_layers=2, width=8, feed_forward_width=64)
    model = projections.model_of(way, heads=2, **shape)
    assert number_of_parameters(model) == pytest.approx(
        number_of_parameters(projections.model_of(projections.LINEAR, heads=2, **shape)), rel=0.02
    )
    params, tokens = model.init(jax.random.key(0)), jnp.arange(6)[None]

    def logits(tokens):
        return model.apply(params, {"source": tokens})["logits"]

    after = logits(tokens.at[0, 4].set(7))
    assert np.array_equal(logits(tokens)[0, :4], after[0, :4])
    assert not np.allclose(logits(tokens)[0, 5], after[0, 5])


@pytest.mark.more
def test_an_mlp_stands_after_the_concatenation():
    model = projections.model_of(projections.MLP, heads=2, vocab_size=9, num_layers=2, width=8, feed_forward_width=64)
    params, batch = model.init(jax.random.key(0)), {"source": jnp.arange(6)[None]}
    gradient = jax.grad(lambda params: jnp.sum(jnp.square(model.apply(params, batch)["logits"])))(params)
    for layer in ("self_0", "self_1"):
        assert set(params[layer]) == {"query", "key", "value", "after"}
        assert params[layer]["after"]["up"]["kernel"].shape == (8, 8)
        assert np.abs(gradient[layer]["after"]["up"]["kernel"]).max() > 0.0


def head_numbers(loss=(2.0, 1.9, 1.8), damage=(0.1, 0.1, 0.1), shared=(1.0, 0.2, 0.4), ways=(2.2, 2.1, 2.0, 1.9)):
    seeds = np.array([-0.001, 0.0, 0.001])
    loss_NR = np.array(loss)[:, None] + seeds
    off = {n: np.full((2, n, 3), x) + row + seeds for n, x, row in zip((1, 2, 4), damage, loss_NR, strict=True)}
    looks = {
        n: {"shared_L": np.full((2, 3), x), "distance_LN": np.ones((2, n, 3))}
        for n, x in zip((1, 2, 4), shared, strict=True)
    }
    rows = zip(projections.WAYS, ways, strict=True)
    return {
        "heads": (1, 2, 4),
        "width": 8,
        "loss_NR": loss_NR,
        "off": off,
        "looks": looks,
        "ways": {way: {"loss_R": x + seeds, "parameters": 9} for way, x in rows},
        "concatenated": {"own": seeds + 1.0, "alike": 0.0 * seeds},
        "concatenated_heads": (2, 3),
    }


def test_head_verdicts_follow_the_numbers():
    def found(**numbers):
        return [c.verdict for c in heads.judge(head_numbers(**numbers))]

    assert found()[:4] == ["holds", "holds", "holds", "holds"]
    assert found()[4:] == ["holds if all heads weigh alike", "holds", "holds"]
    assert found(shared=(1.0, 0.2, 0.6))[3] == "holds if N is 2"
    assert found(ways=(2.2, 2.0, 2.0, 2.1))[5:] == ["holds if all are taken away", "differs"]
    assert found(loss=(2.0, 1.9, 1.95))[:2] == ["holds", "holds if 1 become 2"]
    assert found(loss=(2.0, 2.1, 2.2))[:2] == ["differs", "differs"]
    assert found(damage=(0.5, 0.1, -0.1))[2] == "holds if N is 1 or 2"
    harmless = head_numbers()
    harmless["off"][4][1, 3] = harmless["loss_NR"][2]
    assert heads.judge(harmless)[2].verdict == "holds if N is 1 or 2"
    assert heads.draw(head_numbers()).axes
