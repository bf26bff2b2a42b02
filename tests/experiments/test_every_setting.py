"""No setting is given in vain: each one, changed by a flag where it is read, changes what is trained or written."""

import functools
import itertools
import json
from collections.abc import Container
from pathlib import Path

import pytest
import tokenizers

from experiments.settings import Config, defaults, load_recipe, resolve
from tests.experiments.test_unread_settings import another
from tests.fixtures.effects import Effects, difference
from transformer import schema
from transformer.errors import UserError
from transformer.read_by import conditions, unread

pytestmark = pytest.mark.usefixtures("shapes_once")

ROOT = Path(__file__).parents[2]
LEAVES = schema.settings(Config)
CONDITIONS = dict(conditions(Config()))

SMALL = {
    "model.architecture": "decoder_only",
    "model.num_layers": "2",
    "model.width": "12",
    "model.num_heads": "3",
    "model.dropout": "0.1",
    "training.batch_size": "4",
    "data.examples": "60",
    "data.evaluation_examples": "8",
    "data.dates.locales": "en,de,ja",
    "task.context": "16",
}
"""Flags of every base that reads them, and does without others: two stacks take twice as long to trace as one."""

SOURCES = {"text_to_text": "dates", "classification": "date_language", "language_modelling": "files"}
"""Task -> source of the examples, where no flag names another."""

TWO_FILES = {"data.source_path": "FOLDER/a.txt", "data.target_path": "FOLDER/b.txt"}

FILE = {"tokenizer.name": "file", "tokenizer.path": "FOLDER/a.json"}

BASES = {
    "model.max_length": {"model.position": "learned"},
    "task.name": {"data.source": "date_language"},
    "task.mean_span": {"task.context": "64"},
    "data.files.format": {"task.name": "language_modelling", "data.path": "FOLDER/a.jsonl"},
    "training.batch_tokens": {"training.batch_tokens": "640"},
    "tokenizer.path": FILE,
    "tokenizer.target_path": {**FILE, "tokenizer.shared": "false", "tokenizer.target_path": "FOLDER/b.json"},
    "tokenizer.vocab_size": {"tokenizer.name": "bpe"},
    "data.source_path": TWO_FILES,
    "data.target_path": TWO_FILES,
    "data.too_long": {"model.max_length": "20", "data.too_long": "cut"},
    "data.length_multiple": {"model.architecture": "seq2seq"},
}
"""Setting -> flags of its base, beside those that its conditions ask for."""

VALUES = {
    "model.width": ("24",),
    "model.vocab_size": ("99",),
    "model.max_length": ("99",),
    "model.num_kv_heads": ("1",),
    "model.class_head.classes": ("99",),
    "model.attention.score_modifier": ("tests.fixtures.own_masks:halve",),
    "model.attention.mask": ("tests.fixtures.own_masks:band",),
    "model.feed_forward": ("tests.fixtures.own_modules:normed_hidden",),
    "model.relative.max_distance": ("200",),
    "task.name": ("classification",),
    "task.metrics": ("tests.fixtures.own_metrics:letters",),
    "data.path": ("FOLDER/b.jsonl",),
    "decoding.constraint": ("[0-9]*", "[^e]*"),
    "data.source_path": ("FOLDER/b.txt",),
    "data.target_path": ("FOLDER/a.txt",),
    "data.dates.last_year": ("2040",),
    "data.files.format": ("text",),
    "data.files.text_field": ("xtext",),
    "data.files.label_field": ("xlabel",),
    "data.files.source_field": ("xsource",),
    "data.files.target_field": ("xtarget",),
    "tokenizer.path": ("FOLDER/b.json",),
    "tokenizer.target_path": ("FOLDER/a.json",),
    "tokenizer.vocab_size": ("270",),
    "training.batch_tokens": ("320",),
    "data.validation_path": ("FOLDER/b.jsonl",),
    "data.test_path": ("FOLDER/b.jsonl",),
}
"""Setting -> the values that are tried, where those of `candidates` do not fit."""

REFUSING = {"data.too_long", "model.token_head.present"}
"""Settings with a value that refuses what others allow."""

LOOP = "tests/experiments/training/test_early_stopping.py::"
WRITTEN = {
    "training.average_last": "tests/experiments/storage/test_averaging.py::"
    "test_the_newest_state_comes_with_the_mean_of_what_is_evaluated",
    "training.patience": f"{LOOP}test_a_run_out_of_patience_ends_as_the_last_step_does_and_the_same_if_interrupted",
    "training.output.log_every": f"{LOOP}test_intervals_decide_what_is_written",
    "training.output.evaluate_every": f"{LOOP}test_intervals_decide_what_is_written",
    "training.output.checkpoint_seconds": f"{LOOP}test_intervals_decide_what_is_written",
    "training.output.keep_every": f"{LOOP}test_checkpoints_to_average_are_saved_at_their_interval_and_kept",
    "training.output.best": "tests/experiments/storage/test_checkpoints.py::"
    "test_the_newest_and_the_best_are_kept_and_those_without_a_metric_count_as_newest",
    "training.output.keep_last": "tests/experiments/storage/test_checkpoints.py::"
    "test_the_newest_and_the_best_are_kept_and_those_without_a_metric_count_as_newest",
    "training.output.trackers": "tests/experiments/storage/test_trackers.py::"
    "test_a_tracker_gets_each_line_and_the_end_and_knows_the_run_again",
    **dict.fromkeys(
        ("mesh.data", "mesh.fsdp", "mesh.tensor", "mesh.sequence"),
        "tests/processes/test_mesh.py::test_a_run_on_a_mesh_has_the_losses_of_one_device",
    ),
    "mesh.rules": "tests/experiments/parallel/test_placement.py::test_a_rule_of_ones_own_takes_the_place_of_the_tables",
    "sizes_from_data": "tests/experiments/training/test_sizes.py::"
    "test_a_flag_takes_the_place_of_the_rule_and_the_config_holds_numbers",
    "training.output.tensorboard": "tests/experiments/storage/test_metrics.py::"
    "test_without_tensorboard_there_are_no_event_files",
}
"""Setting that changes only what is written -> the test of what it changes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The user's files: texts, pairs and labels, each with two sets of fields, and tokenizers."""
    made = tmp_path_factory.mktemp("files")
    for name in ("a", "b"):
        text = [f"{name} {i} " * 4 for i in range(60)]
        rows = [{"text": text[i], "label": f"l{i % 3}", "source": f"{name} {i}", "target": f"t{i}"} for i in range(60)]
        rows = [{**row, **{f"x{key}": f"x{value}" for key, value in row.items()}} for row in rows]
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = tokenizers.models.WordLevel({"<unk>": 0, name: 1, "cat": 2}, unk_token="<unk>")
        tokenizers.Tokenizer(words).save(str(made / f"{name}.json"))
        (made / f"{name}.txt").write_text("".join(f"{name} cat number {i * i}\n" for i in range(99)))
    return made


def base_of(name: str, folder: Path) -> dict[str, str]:
    """Return the flags of a config that reads the setting: as few of those that decide it as will do."""
    deciders = {
        other: [text for text in values_of(other) if text != SMALL.get(other, schema.show(LEAVES[other].default))]
        for found in CONDITIONS[name]
        for section in found.names
        for other in LEAVES
        if other == section or (other.startswith(f"{section}.") and LEAVES[other].allowed is not None)
    }
    deciders.pop(name, None)
    for count in range(len(deciders) + 1):
        for chosen in itertools.combinations(deciders, count):
            for texts in itertools.product(*(deciders[other] for other in chosen)):
                given = {**BASES.get(name, {}), **dict(zip(chosen, texts, strict=True))}
                flags, not_read = tried(tuple(given.items()), folder)
                if name not in not_read:
                    return flags
    raise AssertionError(f"no config reads {name}")


@functools.cache
def tried(given: tuple[tuple[str, str], ...], folder: Path) -> tuple[dict[str, str], Container[str]]:
    """Return the completed flags of a config, and the settings that it does not read: all where it is refused."""
    try:
        flags = completed(dict(given), folder)
        return flags, unread(resolved(flags))
    except UserError:
        return {}, LEAVES


def completed(flags: dict[str, str], folder: Path) -> dict[str, str]:
    """Add what the flags need: a source for the task, files, and the flags of SMALL that are read."""
    task = flags.get("task.name", "text_to_text")
    flags = {"data.source": SOURCES[task], "model.architecture": SMALL["model.architecture"], **flags}
    if flags["data.source"] == "files" and "data.source_path" not in flags:
        flags.setdefault("data.path", f"{folder}/a.{'txt' if task == 'language_modelling' else 'jsonl'}")
    flags = {name: text.replace("FOLDER", str(folder)) for name, text in flags.items()}
    read = unread(resolve_quietly(flags))
    return {**{name: text for name, text in SMALL.items() if name not in read}, **flags}


def resolve_quietly(flags: dict[str, str]) -> Config:
    """Build the config of flags, those included that it does not read."""
    values = {name: schema.checked(schema.parse(text, LEAVES[name]), LEAVES[name]) for name, text in flags.items()}
    return schema.with_values(Config(), values)


def resolved(flags: dict[str, str]) -> Config:
    return resolve(defaults(), flags.items())[0]


def values_of(name: str) -> list[str]:
    """List texts of values of a setting that decides over others."""
    leaf = LEAVES[name]
    if not leaf.allowed and leaf.part_type is not bool:
        values = VALUES.get(name) or (schema.show(another(name)),)
    else:
        values = [schema.show(value) for value in leaf.allowed or (True, False)]
    return ["none", *values] if leaf.optional else [*values]


def candidates(name: str) -> list[str]:
    """List texts of other values of a setting."""
    if name in VALUES:
        return [*VALUES[name]]
    numbers = ("2", "4", "6", "0.25", "0.75", "8") if LEAVES[name].part_type in (int, float) else ()
    return [*dict.fromkeys([*values_of(name), schema.show(another(name)), *numbers])]


@functools.cache
def effects(flags: tuple[tuple[str, str], ...]) -> Effects:
    return Effects(resolved(dict(flags)))


def in_vain(name: str, folder: Path) -> str | None:
    """Return what is wrong with a setting: no other value of it changes anything; None where one does."""
    flags = base_of(name, folder)
    base, tried = effects(tuple(sorted(flags.items()))), []
    before = schema.show(schema.flatten(schema.to_dict(base.config))[name])
    for text in candidates(name):
        if text == before:
            continue
        try:
            other = Effects(resolved({**flags, name: text.replace("FOLDER", str(folder))}))
            found = difference(base, other, name.partition(".")[0])
        except UserError as error:
            found = f"refused: {error}" if name in REFUSING and name in str(error) else None
            text = f"{text}: {error}"
        if found is not None:
            return None
        tried.append(text)
    return f"{name} changes nothing in {flags}; tried {tried}"


TRACED = [name for name in LEAVES if name not in WRITTEN]
CORE = [
    name for number, name in enumerate(TRACED) if number % 17 == 3 or name in ("model.num_layers", "model.remat_policy")
]
"""The settings that `make test` tries."""


def test_a_setting_that_is_read_changes_what_is_trained(folder):
    assert [found for name in CORE if (found := in_vain(name, folder)) is not None] == []


@pytest.mark.more
def test_every_setting_that_is_read_changes_what_is_trained(folder):
    assert [found for name in TRACED if (found := in_vain(name, folder)) is not None] == []


def in_vain_over_a_recipe(name: str) -> str | None:
    """Return a setting that a flag gives over a recipe in vain: without an error, a note or a change."""
    recipe, tried = load_recipe(DATES), []
    base = recipe_effects()
    before = schema.show(schema.flatten(schema.to_dict(base.config))[name])
    for text in candidates(name):
        try:
            config, notes = resolve(recipe, [*SHORT.items(), (name, text)])
            if text == before:
                continue
            if any(note.startswith(f"{name} = ") for note in notes):
                return None
            if difference(base, Effects(config), name.partition(".")[0]) is not None:
                return None
            tried.append(text)
        except UserError:
            continue
    return f"{name}: {tried} change nothing" if tried else None


DATES = ROOT / "configs" / "dates.py"
SHORT = {"data.examples": "60", "data.evaluation_examples": "8", "data.dates.locales": "en,de,ja", "model.width": "12"}
"""Flags that make the recipe quick to trace."""


@functools.cache
def recipe_effects() -> Effects:
    return Effects(resolve(load_recipe(DATES), SHORT.items())[0])


SIZES = ("num_layers", "num_encoder_layers", "num_decoder_layers", "num_heads", "num_kv_heads", "feed_forward_width")


def test_a_size_that_is_given_over_a_recipe_changes_the_model_or_is_refused():
    assert [found for name in SIZES if (found := in_vain_over_a_recipe(f"model.{name}")) is not None] == []


def test_every_setting_of_outputs_has_a_test_of_what_it_changes():
    for name, test in WRITTEN.items():
        path, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / path).read_text(), name
    assert set(WRITTEN) <= set(LEAVES)
