"""Sizes that follow the data: the rule's table, what takes its place, and what a run stores."""

import json

import pytest

from experiments import settings
from experiments.cli.recipes import load_recipe
from experiments.comparing import configs
from experiments.data.examples import Document, Pair, Splits
from experiments.training.experiment import set_up
from experiments.training.sizes import DataSizes, chosen, measure
from transformer.errors import UserError


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text("".join(f"{'ab'[i % 2]}\ttext number {i}\n" for i in range(200)))
    return str(path)


@pytest.mark.parametrize(
    ("words", "width", "heads", "layers", "dropout"),
    [(100, 64, 2, 2, 0.2), (20_000, 128, 4, 2, 0.1), (2_000_000, 256, 8, 4, 0.1), (10**9, 256, 8, 4, 0.1)],
)
def test_the_table_of_the_rule(words, width, heads, layers, dropout):
    found = chosen(DataSizes(1000, 5 * words), 32, subwords=True)
    names = ("model.width", "model.num_heads", "model.num_layers", "model.dropout")
    assert tuple(found[name] for name in names) == (width, heads, layers, dropout)
    assert 500 <= found["tokenizer.vocab_size"] <= 8000


@pytest.mark.parametrize(("examples", "steps"), [(1, 500), (3200, 2000), (10**7, 5000)])
def test_steps_read_the_examples_twenty_times_within_limits(examples, steps):
    found = chosen(DataSizes(examples, 10**6), 32, subwords=False)
    assert found["training.steps"] == steps
    assert found["training.output.evaluate_every"] == found["optimizer.warmup_steps"] == steps // 10


def test_warm_up_and_evaluations_follow_steps_that_are_given(labels):
    given = [("data.path", labels), ("training.steps", "80")]
    config, _ = settings.resolve(load_recipe("classify"), given)
    assert (config.training.steps, config.training.output.evaluate_every, config.optimizer.warmup_steps) == (80, 8, 8)


@pytest.mark.parametrize(("tokenizer", "examples"), [("characters", 36), ("bytes", 36), ("bpe", 7)])
def test_a_window_is_as_many_characters_as_its_tokens_have(tmp_path, tokenizer, examples):
    path = tmp_path / "text.txt"
    path.write_text("x" * 5120)  # a tenth is held out
    given = [("data.path", str(path)), ("tokenizer.name", tokenizer)]
    (line,) = [note for note in settings.resolve(load_recipe("language_model"), given)[1] if "sizes from" in note]
    assert line.startswith(f"sizes from the data ({examples} examples, ")


def test_all_seeds_have_the_same_sizes(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{'word ' * (1 if i % 97 else 12000)}\tanswer\n" for i in range(2000)))  # few long ones
    given = [("data.path", str(path))]
    found = [settings.resolve(load_recipe("text_to_text"), [*given, ("seed", str(seed))])[0] for seed in range(3)]
    assert len({(config.tokenizer.vocab_size, config.training.steps) for config in found}) == 1


def test_texts_and_their_answers_are_measured_and_a_text_alone_by_windows():
    pairs = Splits([Pair("ab", "c"), Pair("d", "efg")], [], [])
    assert measure(pairs, 10) == DataSizes(2, 7)
    assert measure(Splits([Document("x" * 95), Document("y" * 10)], [], []), 10) == DataSizes(10, 105)


def test_a_flag_takes_the_place_of_the_rule_and_the_config_holds_numbers(labels):
    config, notes = settings.resolve(load_recipe("classify"), [("data.path", labels), ("model.width", "48")])
    assert (config.model.width, config.model.num_layers, config.training.steps) == (48, 2, 500)
    (line,) = [note for note in notes if note.startswith("sizes from the data (180 examples, ")]
    assert "model.num_layers=2" in line
    assert "model.width" not in line
    assert "vocab_size" not in line  # words have none
    stored = settings.from_stored(settings.to_json_dict(config))
    assert stored == config


def stored(config):
    """A config as config.json has it."""
    return json.loads(json.dumps(settings.to_json_dict(config)))


def test_a_run_that_goes_on_keeps_the_numbers_that_it_has(labels):
    given = [("data.path", labels), ("training.steps", "80")]
    before = stored(settings.resolve(load_recipe("classify"), given)[0])
    for more in ([], [("training.steps", "200")], [("training.steps", "200"), ("optimizer.warmup_steps", "5")]):
        config, notes = settings.resolve(load_recipe("classify"), [("data.path", labels), *more], before)
        found = {name: str(new) for name, _, new, _ in configs.differences(before, stored(config))}
        assert found == dict(more)
        (line,) = [note for note in notes if note.startswith("sizes from the data (180 examples, ")]
        assert "as the run has them: model.width=64" in line
        assert ("optimizer.warmup_steps=8" in line) == (len(more) < 2)


def test_a_run_without_the_rule_gives_it_no_numbers(labels):
    before = stored(settings.resolve(load_recipe("dates"), [("training.steps", "80")])[0])
    new = settings.resolve(load_recipe("classify"), [("data.path", labels)])
    assert settings.resolve(load_recipe("classify"), [("data.path", labels)], before) == new


def test_a_damaged_number_of_a_run_is_refused(labels):
    before = stored(settings.resolve(load_recipe("classify"), [("data.path", labels)])[0])
    before["model"]["width"] = "wide"
    with pytest.raises(UserError, match=r"model\.width has the wrong type"):
        settings.resolve(load_recipe("classify"), [("data.path", labels)], before)


def test_without_data_the_error_is_that_of_the_data(tmp_path):
    config, notes = settings.resolve(load_recipe("classify"))
    assert not notes
    with pytest.raises(UserError, match="has nothing to read"):
        set_up(config)
    with pytest.raises(UserError, match="does not exist"):
        settings.resolve(load_recipe("classify"), [("data.path", str(tmp_path / "none.tsv"))])


def test_recipes_without_the_rule_keep_their_sizes():
    config, _ = settings.resolve(load_recipe("dates"))
    assert not config.sizes_from_data
