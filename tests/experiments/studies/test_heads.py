"""Heads: what they attend to, ways of projecting; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import heads
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts import projections, text
from tests.fixtures.lanes import words
from tests.fixtures.speeds import core_of

EXPERIMENT = heads.experiment(heads.HeadsSettings())


@pytest.mark.more
def test_a_head_that_is_switched_off_is_one_x(tiny_text):
    model = transformer.build(dict(architecture="decoder_only", vocab_size=256, width=6, num_heads=3, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(2, 5)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    found = heads.switched_off(model, params, batch)
    off = model.apply(params, batch, replace={"decoder.1.self.head.2": jnp.zeros_like})["logits"]
    nats = -jax.nn.log_softmax(off)[jnp.arange(2)[:, None], jnp.arange(5), batch["labels"]].mean()
    logits = model.apply(params, batch)["logits"]
    on = -jax.nn.log_softmax(logits)[jnp.arange(2)[:, None], jnp.arange(5), batch["labels"]].mean()
    np.testing.assert_allclose(found["added_LN"][1, 2], nats - on, atol=1e-5)
    assert abs(float(on - nats)) > 1e-4


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


def test_words_follow_the_lanes(tmp_path):
    losses = {"1 head": 1.8, "2 heads": 1.7, "4 heads": 1.6, "8 heads": 1.6, "16 heads": 1.9}
    losses |= {"no projections": 1.9, "no output projection": 1.75, "linear": 1.75, "MLP": 1.7}
    extra = {"added_LN": [[0.05, 0.03]], "untrained_L": [0.6, 0.6], "shared_L": [0.4, 0.3]}
    scores = {name: {"loss": loss, "accuracy": 0.5, "extra": extra} for name, loss in losses.items()}
    assert words(EXPERIMENT, scores, tmp_path / "a") == {
        1: ["holds", "holds", "holds", "reversed"],
        2: ["holds", "holds", "no difference", "reversed"],
        3: ["holds"] * 4,
        4: ["holds"] * 4,
        6: ["holds", "no difference"],
        7: ["holds"],
    }
    idle = {"added_LN": [[0.05, -0.001]], "untrained_L": [0.6, 0.6], "shared_L": [0.6, 0.55]}
    others = words(EXPERIMENT, {name: {**row, "extra": idle} for name, row in scores.items()}, tmp_path / "b")
    assert others[3] == others[4] == ["fails"] * 4
