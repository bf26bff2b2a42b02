"""Prefixes: one masked pass is all of them; verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import prefixes
from experiments.studies.parts import text


@pytest.fixture(scope="module")
def prefix_settings(tiny_text):
    return prefixes.PrefixesSettings(length=3, batch=2, width=8, steps=3, text=tiny_text)


@pytest.mark.more
def test_one_masked_pass_has_the_loss_and_gradient_of_all_prefixes(prefix_settings):
    found = prefixes.equality(prefix_settings, jnp.asarray(text.corpus(prefix_settings.text)[0]))
    assert max(found["loss_R"]) < 1e-5
    assert max(found["gradient_R"]) < 1e-5
    assert min(found["pass_ms_R"] + found["prefixes_ms_R"]) > 0.0


@pytest.mark.more
def test_a_training_without_mask_has_a_curve_and_predicts(prefix_settings):
    learn, check = (jnp.asarray(part) for part in text.corpus(prefix_settings.text))
    row = prefixes.train_row(prefixes.UNMASKED, prefix_settings, learn, check)
    assert row["loss_RU"].shape == (3, 3)
    assert row["predicts_R"].shape == (3,)
    assert np.all(np.isfinite(row["predicts_R"]))


def test_the_last_row_alone_has_weight_where_only_it_is_trained(tiny_text):
    sample = prefixes.last_row(text.windows(2, 4))
    batch = sample(jax.random.key(0), jnp.asarray(text.corpus(tiny_text)[0]))
    assert np.array_equal(batch["loss_weights"], [[0, 0, 0, 1]] * 2)


@pytest.mark.more
def test_predicting_reads_nothing_after_the_prefix(tiny_text):
    model = transformer.build(dict(architecture="encoder_only", vocab_size=256, width=12, num_heads=4, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(3, 6)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    lengths_B = jax.random.randint(jax.random.key(1), (3,), 1, 7)
    after = jnp.arange(6) >= lengths_B[:, None]
    other = {**batch, "target": jnp.where(after, 7, batch["target"])}
    assert bool(after.any())
    assert prefixes.predicting(model, params, batch) == prefixes.predicting(model, params, other)


def prefix_numbers(off=1e-7, last=2.5, bigrams=2.5, cheating=(0.1, 5.0)):
    seeds = np.array([0.999, 1.0, 1.001])
    predicts = dict(zip(prefixes.ROWS, (2.0, last, bigrams, cheating[1]), strict=True))
    rows = {name: {"predicts_R": x * seeds, "loss_RU": np.full((3, 12), cheating[0])} for name, x in predicts.items()}
    times = {"pass_ms_R": [1.0, 1.1, 0.9], "prefixes_ms_R": [4.0, 4.1, 4.2]}
    return {"length": 4, "loss_R": [off] * 3, "gradient_R": [off] * 3, **times, "trained": rows}


def test_prefix_verdicts_follow_the_numbers():
    def found(**numbers):
        return [c.verdict for c in prefixes.judge(prefix_numbers(**numbers))]

    assert found() == ["holds", "differs", "differs", "differs"]
    assert found(off=0.1)[0] == "differs"
    assert found(last=1.9, bigrams=2.0)[1:3] == ["holds", "holds"]
    assert found(cheating=(3.0, 3.0))[3] == "holds"
    assert prefixes.draw(prefix_numbers()).axes
