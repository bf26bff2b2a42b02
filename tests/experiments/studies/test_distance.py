"""Distance: labels stand so far back, copies are written so far on; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies import distance
from tests.fixtures.lanes import words

EXPERIMENT = distance.experiment(distance.DistanceSettings())


def test_the_label_is_the_token_that_stood_so_far_back():
    batch = distance.recall(2, 9, 5, 6)(jax.random.key(0), jnp.asarray(4))
    assert np.array_equal(batch["labels"][:, 4:], batch["target"][:, :5])
    assert np.array_equal(batch["loss_weights"][0], [0.0] * 6 + [1.0] * 3)


def test_a_copy_is_written_as_many_steps_after_it_was_read():
    batch = distance.copy(2, 5, 7)(jax.random.key(0), None)
    read = jnp.concatenate([batch["source"], batch["target"]], axis=1)  # what a model has read, in order
    assert np.array_equal(batch["labels"], read[:, :5])
    assert np.array_equal(read[:, 6:], batch["labels"][:, :-1])
    assert np.all(read[:, 5] == 7)


def scores(near=0.99, far=0.99, rnn=0.2):
    """Shares of all arms, by distance; a copy of the RNN without attention is another."""

    def share(name):
        is_near = name.endswith(("= 1", "of 1"))
        return near if is_near else rnn if name.startswith("RNN,") else far

    return {name: {"accuracy": share(name), "loss": 1.0 - share(name)} for name in EXPERIMENT.arms}


def test_words_follow_the_lanes(tmp_path):
    found = words(EXPERIMENT, scores(), tmp_path / "a")
    assert found == {1: ["holds"] * 6, 2: ["no difference"] * 6, 3: ["holds"], 4: ["fails", "holds", "holds"]}
    found = words(EXPERIMENT, scores(far=0.5, rnn=0.5), tmp_path / "b")
    assert found == {1: ["fails"] * 6, 2: ["holds"] * 6, 3: ["no difference"], 4: ["fails"] * 3}
