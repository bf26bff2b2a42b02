"""Times of updates: their batches, their numbers, and operations that do not depend on the form of the model."""

import dataclasses
import itertools
import resource
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks import roof, updates
from experiments.benchmarks.sizes import SIZES, Size, size_experiment
from experiments.benchmarks.updates import (
    STATUS,
    Turn,
    Updates,
    operations_by_shape,
    process_memory,
    row_of,
    time_updates,
)
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
    model = small(("model.position", "rotary"), ("model.unroll", "false")).config.model
    assert (model.position, model.unroll, model.max_length) == ("rotary", False, None)
    with pytest.raises(UserError, match="name is not read with a size"):
        small(("tokenizer.name", "bytes"))


def test_the_numbers_of_a_row_are_medians_over_updates_of_any_size():
    row = row_of("update", Turn([0.1, 0.4, 0.2], [], 3_000_000), tokens=[10, 80, 10], operations=[1e9, 2e9, 3e9])
    assert row["ms a step"] == pytest.approx(200)
    assert (row["least"], row["most"]) == (pytest.approx(100), pytest.approx(400))
    assert row["tokens/s"] == pytest.approx(100)  # of 100, 200, 50
    assert row["GFLOP/s"] == pytest.approx(10)  # of 10, 5, 15
    assert row["peak memory of the process, MB"] == 3


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


def test_the_fastest_repetition_of_a_product_of_two_matrices_counts(monkeypatch):
    times = itertools.cycle(
        [0.0, *(0.0, 2.0), *(10.0, 10.5), *(20.0, 21.0), 22.0]
    )  # the start, three products, the end
    monkeypatch.setattr(roof, "time", SimpleNamespace(perf_counter=times.__next__))
    found = roof.roofs((32,), seconds=0.0)
    assert [one.speed for one in found.values()] == [2 * 32**3 / 0.5] * 2
    assert [row["size"] for row in roof.rows_of(found)] == ["32 x 32", "32 x 32"]


def test_peak_memory_is_in_bytes_and_not_that_which_a_process_inherits(tmp_path, monkeypatch):
    real = process_memory()
    assert 5e7 < real < 5e10
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=10**9))
    if STATUS.exists():
        assert real <= process_memory() < 5e10
    monkeypatch.setattr(updates, "STATUS", tmp_path / "status")
    assert process_memory() in (10**9, 1024 * 10**9)
    updates.STATUS.write_text("Name:\tpython\nVmPeak:\t 9 kB\nVmHWM:\t    7 kB\n")
    assert process_memory() == 7 * 1024


def test_the_reference_of_an_experiment_has_its_first_batches():
    from experiments.benchmarks.train_turns import LOSSES, reference_of

    experiment = small()
    reference = reference_of(experiment)
    assert len(reference.batches) == LOSSES
    np.testing.assert_array_equal(reference.batches[2]["target"], Updates(experiment, 3).batches[2]["target"])
    assert dataclasses.asdict(reference.optimizer) == dataclasses.asdict(experiment.config.optimizer)
