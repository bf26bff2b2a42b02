"""Times of updates: their batches, their numbers, and operations that do not depend on the form of the model."""

import dataclasses
import itertools

import numpy as np
import pytest

from experiments.benchmarks import roof
from experiments.benchmarks.sizes import SIZES, Size, size_experiment
from experiments.benchmarks.train import with_share
from experiments.benchmarks.updates import Turn, Updates, operations_by_shape, peak_memory, row_of, time_updates
from experiments.costs.summary import costs_of
from experiments.training.update import token_sums
from transformer.errors import UserError

SMALL = [
    *[("model.num_layers", "2"), ("model.width", "12"), ("model.num_heads", "3"), ("model.vocab_size", "11")],
    *[("task.context", "7"), ("training.batch_size", "5")],
]


def small(*overrides):
    return size_experiment("nano_4x128", [*SMALL, *overrides])[0]


def test_the_sizes_are_those_of_nanogpt_and_gpt2():
    assert SIZES["nano_4x128"] == Size(4, 128, 4, 64, 12, 65)
    assert SIZES["nano_6x384"] == Size(6, 384, 6, 256, 8, 65)
    model = size_experiment("nano_6x384", [])[0].config.model
    assert (model.num_layers, model.width, model.num_heads, model.max_length, model.vocab_size) == (6, 384, 6, 256, 65)
    assert (model.architecture, model.position, model.activation) == ("decoder_only", "learned", "gelu_tanh")
    assert not model.bias


def test_random_tokens_are_a_function_of_the_seed_and_labels_are_the_next_tokens():
    first, again, other = (small(("seed", seed)).task.batches.at(3) for seed in ("1", "1", "2"))
    assert first["target"].shape == (5, 7)
    np.testing.assert_array_equal(first["target"], again["target"])
    assert (first["target"] != other["target"]).any()
    np.testing.assert_array_equal(first["labels"][:, :-1], first["target"][:, 1:])
    assert first["target"].max() < 11
    assert first["loss_weights"].min() == 1


def test_a_setting_of_the_model_varies_a_size():
    model = small(("model.position", "rotary"), ("model.unroll", "true")).config.model
    assert (model.position, model.unroll, model.max_length) == ("rotary", True, None)
    with pytest.raises(UserError, match="name is not read with a size"):
        small(("tokenizer.name", "bytes"))


def test_the_numbers_of_a_row_are_medians_over_updates_of_any_size():
    row = row_of("update", Turn([0.1, 0.4, 0.2], [], 3_000_000), tokens=[10, 80, 10], operations=[1e9, 2e9, 3e9])
    assert row["ms a step"] == pytest.approx(200)
    assert (row["least"], row["most"]) == (pytest.approx(100), pytest.approx(400))
    assert row["tokens/s"] == pytest.approx(100)  # of 100, 200, 50
    assert row["GFLOP/s"] == pytest.approx(10)  # of 10, 5, 15
    assert row["peak memory, MB"] == 3
    shared = with_share(row, 40e9)
    assert shared["share of the roof"] == pytest.approx(0.25)
    assert list(shared).index("share of the roof") == list(shared).index("GFLOP/s") + 1


def test_after_the_warm_up_updates_begin_at_the_first_batch_and_come_round():
    experiment = small()
    updates = Updates(experiment, 5)
    updates.warm_up()
    assert updates.at == 0
    assert int(updates.state.step) == 4  # one of the only shape, three more
    updates.run(6)
    assert updates.at == 1
    made = list(itertools.islice(experiment.task.training_batches(), 5))
    for batch, kept in zip(made, updates.batches, strict=True):
        np.testing.assert_array_equal(batch["target"], kept["target"])


def test_losses_are_those_before_each_update():
    experiment = small()
    updates = Updates(experiment, 1)
    total, sums = token_sums(experiment.model, updates.state.params, updates.batches[0])
    first = float(total / sums["tokens"])
    losses = updates.run(6).losses
    assert losses[0] == pytest.approx(first, rel=1e-5)
    assert losses == sorted(losses, reverse=True)  # the same batch again and again


def test_operations_are_counted_by_the_plain_form_without_what_is_computed_again():
    plain, again = (small(("model.remat", remat)) for remat in ("false", "true"))
    assert costs_of(again).operations > costs_of(plain).operations
    counts = [operations_by_shape(each, Updates(each, 1)) for each in (plain, again)]
    assert counts[0] == counts[1]
    ((_, count),) = counts[0].items()
    assert count == 5 * costs_of(plain).operations


def test_the_row_of_an_experiment_has_its_tokens():
    row, _ = time_updates(small(), 3)
    seconds = 35 / row["tokens/s"]
    assert 1e-3 * row["least"] <= seconds <= 1e-3 * row["most"]


def test_the_roof_is_the_fastest_product_of_each_type(monkeypatch):
    monkeypatch.setattr(roof, "_speed", lambda n, dtype, seconds: {8: 5.0, 16: 7.0, 32: 6.0}[n])
    assert roof.roofs((8, 16, 32)) == dict.fromkeys(roof.TYPES, roof.Roof(7.0, 16))


def test_a_product_of_two_matrices_is_measured():
    found = roof.roofs((32,), seconds=0.0)
    assert all(1e5 < one.speed < 1e15 for one in found.values())
    assert [row["size"] for row in roof.rows_of(found)] == ["32 x 32", "32 x 32"]


def test_peak_memory_does_not_fall():
    before = peak_memory()
    np.ones(30_000_000)
    after = peak_memory()
    assert before > 10_000_000  # bytes, not kilobytes
    assert after >= before + 100_000_000 or after > 1_000_000_000


def test_a_twin_of_an_experiment_has_its_first_batches():
    from experiments.benchmarks.train_turns import LOSSES, twin_of

    experiment = small()
    twin = twin_of(experiment)
    assert len(twin.batches) == LOSSES
    np.testing.assert_array_equal(twin.batches[2]["target"], Updates(experiment, 3).batches[2]["target"])
    assert dataclasses.asdict(twin.optimizer) == dataclasses.asdict(experiment.config.optimizer)
