"""Prefixes: what is trained and what is read; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import prefixes
from experiments.studies.parts import text
from tests.fixtures.lanes import words


def test_the_last_row_alone_has_weight_where_only_it_is_trained(tiny_text):
    sample = prefixes.last_row(text.windows(2, 4))
    batch = sample(jax.random.key(0), jnp.asarray(text.corpus(tiny_text)[0]))
    assert np.array_equal(batch["loss_weights"], [[0, 0, 0, 1]] * 2)


@pytest.mark.more
def test_predicting_reads_nothing_after_the_prefix(tiny_text):
    model = transformer.build(dict(architecture="encoder_only", vocab_size=256, width=12, num_heads=4, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(3, 6)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    lengths_B = jnp.array([1, 2, 3])
    after = jnp.arange(6) >= lengths_B[:, None]
    other = {**batch, "target": jnp.where(after, 7, batch["target"])}
    assert bool(after.any())
    found, again = (prefixes.predicting(model, params, x)["loss"] for x in (batch, other))
    assert found == again
    assert found[1] == 3.0


def test_words_follow_the_lanes(tmp_path):
    experiment = prefixes.experiment(prefixes.PrefixesSettings())

    def scores(last, unmasked):
        losses = {prefixes.MASKED: 1.7, prefixes.LAST: last, prefixes.UNMASKED: unmasked}
        return {name: {"loss": loss} for name, loss in losses.items()}

    assert words(experiment, scores(2.2, 5.0), tmp_path / "a") == {2: ["fails"], 4: ["fails"]}
    assert words(experiment, scores(1.6, 1.71), tmp_path / "b") == {2: ["holds"], 4: ["holds"]}
