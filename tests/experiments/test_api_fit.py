"""`api.fit`: own arrays, losses and optimizers by the same update and loop; interrupted, continued, and refused."""

import os
import signal
import threading

import jax
import numpy as np
import optax
import pytest

import transformer
from experiments import api
from tests.fixtures.speeds import core_of
from transformer import UserError

MODEL = transformer.build(architecture="decoder_only", vocab_size=11, width=8, num_heads=2, num_layers=1)
RANDOM = np.random.default_rng(0)
X = RANDOM.integers(1, 11, (40, 7))
DATA = {"target": X, "labels": np.roll(X, -1, axis=1), "target_lengths": RANDOM.integers(2, 8, 40)}
COMMON = {"batch_size": 8, "progress": False, "optimizer": {"name": "sgd", "warmup_steps": 0, "schedule": "constant"}}


def leaves(params):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


@pytest.fixture(scope="module")
def whole():
    """Fit six steps at once."""
    return api.fit(MODEL, DATA, steps=6, **COMMON)


def test_a_fit_returns_parameters_that_have_learned_and_its_metrics(whole, capfd):
    (line,) = whole.metrics
    assert (line["step"], line["split"]) == (6, "train")
    assert 0 < line["loss"] < 2 * np.log(11)
    assert repr(whole) == f"Fit: step 6, train loss {line['loss']:.4g}"
    assert not same(whole.params, MODEL.init(0))
    assert not any(capfd.readouterr())


def test_going_on_under_other_flags_of_xla_warns_that_bits_may_differ(tmp_path, monkeypatch):
    api.fit(MODEL, DATA, steps=1, workdir=tmp_path, **COMMON)
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} --xla_cpu_enable_fast_math=false")
    with pytest.warns(UserWarning, match="XLA_FLAGS have changed .* -> .*xla_cpu_enable_fast_math=false"):
        api.fit(MODEL, DATA, steps=1, workdir=tmp_path, **COMMON)


def interrupting(step):
    """Return a function of the step that interrupts the program once, as Ctrl-C does."""
    left = [step]

    def batches(i):
        if left == [i]:
            left.clear()
            signal.raise_signal(signal.SIGINT)
        return {name: array[i * 8 % 40 : i * 8 % 40 + 8] for name, array in DATA.items()}

    return batches


@pytest.mark.more
def test_an_interrupted_fit_saves_and_the_same_call_continues_to_the_same_bits(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    batches = interrupting(3)
    with pytest.raises(KeyboardInterrupt):
        api.fit(MODEL, batches, steps=6, workdir=tmp_path / "run", **COMMON)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / "run" / "checkpoints" / "4").is_dir()
    continued = api.fit(MODEL, batches, steps=6, workdir=tmp_path / "run", **COMMON)
    in_one = api.fit(MODEL, batches, steps=6, **COMMON)
    assert same(continued.params, in_one.params)
    assert continued.metrics[-1]["loss"] == pytest.approx(in_one.metrics[-1]["loss"])
    with pytest.raises(UserError, match=r"fit\.steps: 6 -> 7"):
        api.fit(MODEL, batches, steps=7, workdir=tmp_path / "run", **COMMON)


@pytest.mark.more
def test_a_loss_and_an_optimizer_of_ones_own_are_taken_as_they_are(whole):
    def loss(params, batch, key):
        return (MODEL.apply(params, batch)["hidden"] ** 2).mean(), {"twice": 2.0}

    before = [leaf.copy() for leaf in leaves(whole.params)]
    batches = [{"target": X[:5]}, {"target": X[5:10]}]
    options = {"optimizer": optax.sgd(0.25), "loss": loss, "params": whole.params, "progress": False}
    found = api.fit(MODEL, batches, steps=2, validation=[{"target": X[10:15]}], **options)
    expected = whole.params
    for batch in batches:
        gradient = jax.jit(jax.grad(lambda params, batch=batch: loss(params, batch, None)[0]))(expected)
        expected = jax.tree.map(lambda p, g: p - 0.25 * g, expected, gradient)
    for one, other in zip(leaves(found.params), leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert [line["split"] for line in found.metrics] == ["validation", "train", "validation"]
    assert found.metrics[-1]["twice"] == 2.0
    assert all(np.array_equal(a, b) for a, b in zip(before, leaves(whole.params), strict=True)), "the caller's own"


@pytest.mark.more
def test_padding_behind_a_length_has_no_loss():
    longer = {name: array[:8] for name, array in DATA.items()}
    cut = {**longer, "labels": np.where(np.arange(7) < longer["target_lengths"][:, None], longer["labels"], 3)}
    losses = [api.fit(MODEL, each, steps=1, **COMMON).metrics[-1]["loss"] for each in (longer, cut)]
    assert losses[0] == losses[1]


NOT_FINITE = r"step 1: not finite: loss and gradient norm \(.*\)\. There is no checkpoint yet\. .* in another workdir\."


def test_a_loss_that_is_not_finite_raises_its_own_error():
    def loss(params, batch, key):
        return params["decoder"]["final_norm"]["scale"].sum() * float("nan")

    with pytest.raises(api.NotFiniteError, match=NOT_FINITE):
        api.fit(MODEL, [{"target": X}], steps=2, loss=loss, progress=False)


@pytest.mark.more
def test_a_fit_in_another_thread_leaves_signals_alone_and_can_run_twice_in_one_process(whole):
    found = []
    work = threading.Thread(target=lambda: found.append(api.fit(MODEL, DATA, steps=6, **COMMON)))
    work.start()
    work.join()
    assert same(found[0].params, whole.params)


MISTAKES = {
    "no model": (lambda: api.fit("model", DATA, steps=2), "not a model; got 'model'; expected the result of"),
    "no steps": (lambda: api.fit(MODEL, DATA, steps=0), "steps is out of range; got 0"),
    "no batches": (lambda: api.fit(MODEL, 3, steps=2), "not batches; got 3 (int); expected a dict of arrays"),
    "no labels": (lambda: api.fit(MODEL, {"target": X}, steps=2, batch_size=8), "a batch has no labels; got entries"),
    "unequal arrays": (
        lambda: api.fit(MODEL, {"target": X, "labels": X[1:]}, steps=2),
        "the arrays have other numbers of examples",
    ),
    "few examples": (
        lambda: api.fit(MODEL, DATA, steps=2, batch_size=99),
        "there are fewer examples than a batch has; got 40; expected 99 or more",
    ),
    "no optimizer": (lambda: api.fit(MODEL, DATA, steps=2, optimizer=3), "not an optimizer; got 3 (int)"),
    "an unknown optimizer": (
        lambda: api.fit(MODEL, DATA, steps=2, optimizer="adm"),
        "unknown value of optimizer.name; got 'adm'",
    ),
    "an iterator that ends": (
        lambda: api.fit(MODEL, iter([{name: a[:8] for name, a in DATA.items()}]), steps=9, **COMMON),
        "the batches end before the last step; got 1 of them; expected one for each step",
    ),
}


@pytest.mark.parametrize("name", core_of(MISTAKES, lambda name: name != "an iterator that ends"))
def test_a_mistake_raises_an_error(name, monkeypatch):
    call, what = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        call()
    assert what in str(caught.value)
    assert "--" not in str(caught.value)
