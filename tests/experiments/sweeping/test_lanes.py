"""A lane is its trial: the same numbers as alone, whatever the other lanes do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.sweeping.lanes import MODES, lane_counts, lanes_mesh, make_lanes, place, row, stacked
from experiments.training.hyperparameters import SETTINGS
from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny_sweep import make_trials, recipe
from transformer.errors import UserError
from transformer.nn.module_rows import ARCHITECTURES

pytestmark = pytest.mark.usefixtures("fused_as_users_have_it")

R = 3
VALUES = {
    "seed": ("0", "7", "7"),
    "learning_rate": ("1e-3", "3e-3", "1e-2"),
    "warmup_steps": ("0", "2", "5"),
    "weight_decay": ("0", "0.1", "0.3"),
    "beta1": ("0.9", "0.8", "0.9"),
    "beta2": ("0.98", "0.9", "0.95"),
    "initial_scale": ("1", "0.5", "2"),
    "dropout": ("0.1", "0", "0.3"),
    "label_smoothing": ("0.1", "0", "0.2"),
}
"""Field of Hyperparameters -> its values in the lanes; every one that a sweep may vary without compiling."""


@dataclasses.dataclass
class Pair:
    """One update for lanes and for one trial, and the trials."""

    trials: list
    solo: object
    batches: object
    updates: dict
    first: object

    def states(self, trials=None):
        return [self.first(trial.experiment.hyperparameters) for trial in trials or self.trials]

    def lanes(self, mode, steps, trials=None, states=None):
        """Train lanes for `steps` steps; return states on the host, which lanes run, and the last step's metrics."""
        trials, mesh = trials or self.trials, lanes_mesh()
        many = place(stacked(states or self.states(trials)), mesh)
        h = place(stacked([trial.experiment.hyperparameters for trial in trials]), mesh)
        running = place(np.ones(len(trials), bool), mesh)
        update = self.updates[mode]
        for step in range(steps):
            many, running, metrics = update(many, running, self.batches.at(step), h)
        return jax.device_get(many), np.asarray(running), jax.device_get(metrics)

    def alone(self, i, steps, state=None, trials=None):
        h = (trials or self.trials)[i].experiment.hyperparameters
        state = self.states(trials)[i] if state is None else state
        for step in range(steps):
            state, metrics = self.solo(state, self.batches.at(step), h)
        return jax.device_get(state), jax.device_get(metrics)


@pytest.fixture(scope="module", params=core_of(sorted(ARCHITECTURES), lambda name: name == "decoder_only"))
def pair(request, tmp_path_factory):
    points = [{SETTINGS[name]: values[i] for name, values in VALUES.items()} for i in range(R)]
    trials = make_trials(tmp_path_factory.mktemp("lanes"), points, recipe(request.param))
    experiment = trials[0].experiment
    update, first = experiment.update_of_one(), jax.jit(experiment.initial_state)
    updates = {mode: make_lanes(update, mode, lanes_mesh(), shared=True) for mode in MODES}
    return Pair(trials, jax.jit(update), experiment.task.batches, updates, first)


def differences(lane, alone):
    pairs = zip(jax.tree_util.tree_leaves_with_path(lane), jax.tree.leaves(alone), strict=True)
    return {jax.tree_util.keystr(path): float(np.abs(np.float64(a) - np.float64(b)).max()) for (path, a), b in pairs}


def test_the_values_vary_every_hyperparameter(pair):
    for name, values in VALUES.items():
        assert len({float(getattr(t.experiment.hyperparameters, name)) for t in pair.trials}) == len(set(values))
    assert set(VALUES) == {field.name for field in dataclasses.fields(pair.trials[0].experiment.hyperparameters)}


def test_map_lanes_are_their_solo_runs_in_every_bit(pair):
    states, running, metrics = pair.lanes("map", 4)
    assert running.all()
    for i in range(R):
        state, single = pair.alone(i, 4)
        for name, difference in differences(row(states, i), state).items():
            assert difference == 0.0, name
        assert {name: value[i] for name, value in metrics.items()} == single


@pytest.mark.more
def test_a_lane_by_itself_and_its_place_among_others_change_no_bit(pair):
    devices, state = jax.device_count(), pair.alone(0, 4)[0]
    for trials in ([pair.trials[0]] * devices, [pair.trials[2], pair.trials[0]] * devices):
        states, _, _ = pair.lanes("map", 4, trials)
        at = trials.index(pair.trials[0])
        assert max(differences(row(states, at), state).values()) == 0.0


@pytest.mark.more
def test_vmap_lanes_stay_as_near_to_solo_runs_as_a_run_that_starts_one_ulp_apart(pair, tmp_path):
    """At a learning rate at which the training itself is that steady."""
    points = [{"seed": str(i), "optimizer.learning_rate": "2e-6"} for i in range(R)]
    trials = make_trials(tmp_path, points, recipe(pair.trials[0].experiment.config.model.architecture))
    first, _, _ = pair.lanes("vmap", 1, trials)
    after, _, _ = pair.lanes("vmap", 100, trials)
    for i in range(R):
        state, _ = pair.alone(i, 1, trials=trials)
        assert max(differences(row(first, i).params, state.params).values()) < 1e-6
        state, _ = pair.alone(i, 100, trials=trials)
        assert max(differences(row(after, i).params, state.params).values()) < 1e-5
    start = pair.states(trials)[0]
    moved = dataclasses.replace(start, params=jax.tree.map(lambda x: jnp.nextafter(x, jnp.inf), start.params))
    apart, _ = pair.alone(0, 100, moved, trials)
    assert max(differences(apart.params, pair.alone(0, 100, trials=trials)[0].params).values()) < 1e-5


@pytest.mark.parametrize("mode", ["map", more("vmap")])
def test_a_lane_that_diverges_keeps_its_last_state_and_changes_nothing_in_the_others(pair, mode):
    states = pair.states()
    broken = dataclasses.replace(states[1], params=jax.tree.map(lambda x: x * jnp.nan, states[1].params))
    whole, _, _ = pair.lanes(mode, 3)
    mixed, running, _ = pair.lanes(mode, 3, states=[states[0], broken, states[2]])
    np.testing.assert_array_equal(running, [True, False, True])
    assert int(mixed.step[1]) == 0
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(row(mixed, 1).params))
    for i in (0, 2):
        assert max(differences(row(mixed, i), row(whole, i)).values()) == 0.0


@pytest.mark.more
def test_lanes_of_other_batches_learn_from_their_own(pair):
    mesh = lanes_mesh()
    update = make_lanes(pair.trials[0].experiment.update_of_one(), "map", mesh, shared=False)
    h = stacked([trial.experiment.hyperparameters for trial in pair.trials])
    batches = [pair.batches.at(i) for i in range(R)]
    states, _, _ = update(*place((stacked(pair.states()), np.ones(R, bool), stacked(batches), h), mesh))
    for i in range(R):
        state, _ = pair.solo(pair.states()[i], batches[i], pair.trials[i].experiment.hyperparameters)
        assert max(differences(row(jax.device_get(states), i), jax.device_get(state)).values()) == 0.0


@pytest.mark.parametrize(
    ("trials", "most", "devices", "counts"),
    [(16, 16, 2, [16]), (16, 32, 2, [16]), (15, 16, 2, [16]), (20, 16, 2, [10, 10]), (7, 4, 1, [4, 4]), (1, 9, 4, [4])],
)
def test_lane_counts_hold_every_trial_in_few_sizes(trials, most, devices, counts):
    assert lane_counts(trials, most, devices) == counts


def test_fewer_lanes_than_devices_is_an_error():
    with pytest.raises(UserError, match="fewer lanes than there are devices; got 0; expected 4 or more"):
        lane_counts(8, 3, 4)
