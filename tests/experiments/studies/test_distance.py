"""Distance: labels stand so far back, every rung copies; verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import distance
from transformer.nn.positions import POSITIONS


def test_the_label_is_the_token_that_stood_so_far_back():
    batch = distance.recall(2, 9, 5)(jax.random.key(0), jnp.asarray(4))
    assert np.array_equal(batch["labels"][:, 4:], batch["target"][:, :5])
    assert np.array_equal(batch["loss_weights"][0], [0.0] * 4 + [1.0] * 5)


def test_distance_is_measured_for_every_row_of_positions():
    assert set(POSITIONS) <= set(distance.rungs())


@pytest.mark.more
def test_recall_over_one_step_is_learned():
    settings = distance.DistanceSettings(length=6, vocabulary=3, width=16, batch=16, steps=300, seeds=(0,))
    model = transformer.build(dict(architecture="decoder_only", vocab_size=3, width=16, num_heads=2, num_layers=1))
    assert distance.recalled(model, distance.recall(16, 6, 3), 1, settings, "")[0] > 0.6


def test_a_copy_is_written_as_many_steps_after_it_was_read():
    batch = distance.copy(2, 5, 7)(jax.random.key(0), None)
    read = jnp.concatenate([batch["source"], batch["target"]], axis=1)  # what a model has read, in order
    assert np.array_equal(batch["labels"], read[:, :5])
    assert np.array_equal(read[:, 6:], batch["labels"][:, :-1])
    assert np.all(read[:, 5] == 7)


@pytest.mark.more
@pytest.mark.parametrize("name", distance.COPIERS)
def test_every_rung_learns_to_copy_one_token(name):
    settings = distance.DistanceSettings(vocabulary=3, width=8, steps=80, seeds=(0, 1))
    model = transformer.build({"vocab_size": 4, "width": 8, "num_layers": 1, **distance.COPIERS[name]})
    assert np.all(distance.recalled(model, distance.copy(16, 1, 3), 1, settings, "") > 0.6)


def test_distance_verdicts_follow_the_numbers():
    def found(copied=((0.99, 0.2), (0.99, 0.95), (0.99, 0.99)), **rows):
        def of_seeds(rows):
            return {name: np.outer(x, (0.999, 1.0, 1.001)) for name, x in rows.items()}

        copies = dict(zip(distance.COPIERS, copied, strict=True))
        numbers = {"distance": (1, 32), "vocabulary": 16, "accuracy_DR": of_seeds({**rows, "RNN": (0.9, 0.9)})}
        return [c.verdict for c in distance.judge({**numbers, "copied_DR": of_seeds(copies)})]

    assert found(rotary=(0.99, 0.99), learned=(0.99, 0.95))[:2] == ["holds", "holds if positions are learned"]
    assert found(rotary=(0.99, 0.99), none=(0.99, 0.2)) == [
        "holds if positions are rotary",
        "holds if positions are none",
        "holds",
        "holds",
    ]
    assert found(none=(0.1, 0.2))[:2] == ["differs", "differs"]
    assert found(((0.9, 0.2), (0.9, 0.2), (0.99, 0.99)), none=(0.1, 0.2))[2] == "shape only"
    assert found(((0.9, 0.9), (0.9, 0.5), (0.99, 0.99)), none=(0.1, 0.2))[2:] == [
        "differs",
        "holds if the model is Transformer",
    ]
