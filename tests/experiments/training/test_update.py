"""The update: what it computes, what it must not depend on, and that a sweep can vary it without recompiling."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.optimizers import OptimizerConfig
from experiments.training.update import State, averaged, initial_state, make_update, token_sums
from tests.fixtures.hyper import hyper
from tests.fixtures.speeds import more
from transformer import build

B, S, T, V = 8, 7, 5, 23
ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")
STEADY = OptimizerConfig(epsilon=1e-2)
"""For comparing two programs: softmax ignores key biases, so their gradient is rounding alone, which AdamW would divide
by its own size but for a large epsilon."""


def batch_for(architecture: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    length = S if architecture == "encoder_only" else T
    weights = (rng.random((B, length)) < 0.7).astype(np.float32)
    batch = {
        "source": rng.integers(6, V, (B, S)),
        "source_lengths": rng.integers(1, S + 1, B),
        "target": rng.integers(6, V, (B, T)),
        "target_lengths": rng.integers(1, T + 1, B),
        "labels": rng.integers(6, V, (B, length)),
    }
    return {**{k: v.astype(np.int32) for k, v in batch.items()}, "loss_weights": weights}


@pytest.fixture(scope="module")
def model():
    return build({"architecture": "seq2seq", "vocab_size": V, "width": 12, "num_heads": 3, "num_layers": 1})


@pytest.fixture(scope="module")
def config():
    return OptimizerConfig()


@functools.cache
def compiled(model, config, **kwargs):
    return jax.jit(make_update(model, config, steps=20, **kwargs))


DECAY = 0.5
"""The decay of the average."""


def every(**changes):
    """Return hyperparameters none of which is absent, so that one program trains with all of them."""
    return hyper(**{"dropout": 0.0, "label_smoothing": 0.1, **changes})


@functools.cache
def traced(model):
    """Return the one program of the tests that vary hyperparameters, and a list that grows when it is traced."""
    update, traces = make_update(model, STEADY, steps=20, ema_decay=DECAY), []

    def counted(state, batch, h):
        traces.append(h)
        return update(state, batch, h)

    return jax.jit(counted), traces


def train(model, h, batches):
    """Train from the first state by the one program; return the last state and its metrics."""
    state = start_of(model, STEADY, h, DECAY)
    for batch in batches:
        state, metrics = traced(model)[0](state, batch, h)
    return state, metrics


@functools.cache
def started(model, config, seed, scale, ema_decay):
    return initial_state(model, config, hyper(seed=seed, initial_scale=scale), ema_decay)


def start_of(model, config, h, ema_decay=None):
    """The first state, made once for each model, seed and scale."""
    return started(model, config, int(h.seed), float(h.initial_scale), ema_decay)


def run(model, config, h, batches, **kwargs):
    state, update = start_of(model, config, h, kwargs.get("ema_decay")), compiled(model, config, **kwargs)
    for batch in batches:
        state, metrics = update(state, batch, h)
    return state, metrics


def assert_trees_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def largest_difference(a, b) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(jnp.max(jnp.abs(x - y))), a, b)))


@pytest.mark.more
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_that_is_repeated_is_learned(architecture, config):
    model = build({"architecture": architecture, "vocab_size": V, "width": 12, "num_heads": 3, "num_layers": 1})
    h, batch = hyper(), batch_for(architecture)
    _, first = run(model, config, h, [batch])
    _, last = run(model, config, h, [batch] * 20)
    assert float(last["loss"]) < 0.8 * float(first["loss"])


@pytest.mark.parametrize("smoothing", [more(None), 0.1])
def test_four_parts_give_the_update_of_one_batch(model, smoothing):
    # The parts hold different numbers of weighted tokens, so a mean of means would differ.
    h = every() if smoothing else hyper()
    batches = [batch_for("seq2seq", seed) for seed in range(3)]
    whole, metrics = train(model, h, batches)
    parts, metrics_of_parts = run(model, STEADY, h, batches, accumulation=4)
    assert_trees_close(whole.params, parts.params, atol=1e-5)
    assert_trees_close(metrics, metrics_of_parts, rtol=1e-4)


@pytest.mark.more
def test_parts_drop_out_by_different_keys(model, config):
    """With one key for all parts, equal rows in two parts would get equal noise, and a doubled batch one gradient."""
    one = {k: v[:4] for k, v in batch_for("seq2seq").items()}
    twice = {k: np.concatenate([v, v]) for k, v in one.items()}
    h = hyper(dropout=0.5)
    _, of_one = run(model, config, h, [one])
    _, of_two = run(model, config, h, [twice], accumulation=2)
    assert float(of_one["loss"]) != pytest.approx(float(of_two["loss"]), rel=1e-4)


def test_randomness_is_a_function_of_seed_and_step(model):
    batches = [batch_for("seq2seq")] * 2
    a, _ = train(model, every(dropout=0.3), batches)
    b, _ = train(model, every(dropout=0.3), batches)
    other, _ = train(model, every(dropout=0.3, seed=1), batches)
    assert largest_difference(a.params, b.params) == 0.0
    assert largest_difference(a.params, other.params) > 1e-3
    update, state = traced(model)[0], start_of(model, STEADY, every(), DECAY)
    later = dataclasses.replace(state, step=state.step + 1)
    losses = [float(update(s, batches[0], every(dropout=0.3))[1]["loss"]) for s in (state, later)]
    assert losses[0] != losses[1]


def test_hyperparameters_are_arguments_not_constants(model):
    (update, traces), batch = traced(model), batch_for("seq2seq")
    base = dict(dropout=0.1, label_smoothing=0.1)
    state = start_of(model, STEADY, every(**base), DECAY)
    reference = update(state, batch, every(**base))[0]
    before = len(traces)
    changes = dict(
        seed=1,
        learning_rate=3e-3,
        warmup_steps=7,
        weight_decay=0.5,
        beta1=0.5,
        beta2=0.9,
        dropout=0.4,
        label_smoothing=0.3,
    )
    second = update(reference, batch, every(**base))[0]
    for name, value in changes.items():
        changed = update(reference, batch, every(**{**base, name: value}))[0]
        assert largest_difference(second.params, changed.params) > 1e-7, name
    assert len(traces) == before >= 1


@pytest.mark.more
def test_trials_train_as_lanes_of_vmap(model):
    rates = [1e-3, 1e-2]
    lanes = jax.tree.map(lambda *x: jnp.stack(x), *[hyper(learning_rate=r) for r in rates])
    states = jax.vmap(lambda h: initial_state(model, STEADY, h, None))(lanes)
    update, batch = make_update(model, STEADY, steps=20), batch_for("seq2seq")
    states, _ = jax.jit(jax.vmap(update, in_axes=(0, None, 0)))(states, batch, lanes)
    for lane, rate in enumerate(rates):
        alone, _ = run(model, STEADY, hyper(learning_rate=rate), [batch])
        assert_trees_close(alone.params, jax.tree.map(lambda x, i=lane: x[i], states.params), atol=1e-6)


def test_initial_scale_multiplies_matrices_and_tables_alone(model, config):
    one = start_of(model, config, hyper()).params
    two = start_of(model, config, hyper(initial_scale=2.0)).params
    axes = model.parameter_axes(one)
    factor = jax.tree.map(lambda a: 1.0 if a.kind == "vector" else 2.0, axes)
    assert_trees_close(two, jax.tree.map(lambda x, f: x * f, one, factor), rtol=1e-6)


def test_biases_and_scales_are_not_decayed(model):
    """A gradient of zero leaves decay alone to move parameters."""
    batch = batch_for("seq2seq")
    batch["loss_weights"] = np.zeros_like(batch["loss_weights"])
    h = every(weight_decay=0.5, warmup_steps=0)
    start = start_of(model, STEADY, h, DECAY)
    shifted = dataclasses.replace(start, params=jax.tree.map(lambda x: x + 0.1, start.params))
    after, metrics = traced(model)[0](shifted, batch, h)
    assert float(metrics["loss"]) == 0.0
    axes = model.parameter_axes(start.params)
    kept = jax.tree.map(lambda a: 1.0 if a.kind == "vector" else 1.0 - 0.5 * 1e-2, axes)
    assert_trees_close(after.params, jax.tree.map(lambda x, f: x * f, shifted.params, kept), rtol=1e-5)


@pytest.mark.more
def test_clipping_bounds_the_gradient_that_the_optimizer_sees(model):
    batch = batch_for("seq2seq")
    means = {}
    for clip in (None, 1e-3):
        state, metrics = run(model, OptimizerConfig(clip_norm=clip), hyper(), [batch])
        means[clip] = float(metrics["gradient_norm"])
        adam = next(x for x in jax.tree.leaves(state.optimizer, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(x, "mu"))
        norm = float(jnp.sqrt(sum(jnp.sum(jnp.square(m / 0.1)) for m in jax.tree.leaves(adam.mu))))
        assert norm == pytest.approx(means[clip] if clip is None else clip, rel=1e-3)
    assert means[None] == pytest.approx(means[1e-3])  # the metric is of the gradient before clipping


def test_the_average_follows_the_parameters(model):
    h, batches = every(), [batch_for("seq2seq", i) for i in range(3)]
    state, _ = train(model, h, batches)
    by_hand = start_of(model, STEADY, h).params
    for count in range(1, 4):
        params = train(model, h, batches[:count])[0].params
        decay = min(DECAY, count / (9 + count))
        by_hand = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, by_hand, params)
    assert_trees_close(state.average, by_hand, atol=1e-6)
    assert largest_difference(state.evaluated_params, state.params) > 0.0
    assert float(averaged({"x": jnp.ones(())}, {"x": jnp.zeros(())}, jnp.asarray(10**6), 0.9)["x"]) == pytest.approx(
        0.9
    )


def test_weights_count_tokens_and_smoothing_is_not_in_the_reported_loss(model):
    batch = batch_for("seq2seq")
    params = start_of(model, OptimizerConfig(), hyper()).params
    objective, sums = token_sums(model, params, jax.tree.map(jnp.asarray, batch), smoothing=jnp.asarray(0.3))
    logits = np.asarray(model.apply(params, batch)["logits"], np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nats = -np.take_along_axis(log_p, batch["labels"][..., None], -1)[..., 0]
    assert float(sums["nats"]) == pytest.approx((nats * batch["loss_weights"]).sum(), rel=1e-5)
    smooth = 0.7 * nats - 0.3 * log_p.mean(-1)
    assert float(objective) == pytest.approx((smooth * batch["loss_weights"]).sum(), rel=1e-5)
    right = (logits.argmax(-1) == batch["labels"]) * batch["loss_weights"]
    assert float(sums["correct"]) == right.sum()


@pytest.fixture(scope="module")
def flat_and_exported(model, config):
    """The update as a function of its leaves, those leaves, and its export."""
    h, batch = hyper(), batch_for("seq2seq")
    state = start_of(model, config, h, 0.9)
    update = make_update(model, config, steps=20, accumulation=2, ema_decay=0.9)
    leaves, tree = jax.tree.flatten((state, batch, h))
    flat = jax.jit(lambda *leaves: jax.tree.leaves(update(*jax.tree.unflatten(tree, leaves))))
    return flat, leaves, jax.export.export(flat, platforms=("cpu", "cuda", "tpu"))(*leaves)


def test_update_exports_for_cpu_cuda_and_tpu(flat_and_exported):
    assert flat_and_exported[2].platforms == ("cpu", "cuda", "tpu")


@pytest.mark.more
def test_the_exported_update_computes_the_same(flat_and_exported):
    flat, leaves, exported = flat_and_exported
    there = jax.jit(jax.export.deserialize(exported.serialize()).call)(*leaves)
    for a, b in zip(there, flat(*leaves), strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_holds_arrays_only(model, config):
    state = start_of(model, config, hyper(), 0.9)
    assert isinstance(state, State)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
