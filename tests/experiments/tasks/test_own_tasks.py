"""Claims about tasks and objectives of somebody's own: what they read, train on and give, and those that cannot be."""

import json
import math

import numpy as np
import pytest

from experiments import api, settings
from experiments.comparing.results import read_result
from experiments.tasks.build import build_task, read_examples, task_class
from experiments.tasks.config import objective_of
from experiments.tasks.rows import BUILT_IN, OBJECTIVES, TASKS, TaskRow, check_row, loaded
from experiments.tasks.text_to_text import TextToText
from experiments.training.experiment import set_up, task_settings
from tests.fixtures import own_metrics, own_tasks
from tests.fixtures.commands import error_of
from transformer.named_code import code_from_outside, named_code
from transformer.read_by import unread
from transformer.tables import register

OWN = "tests.fixtures.own_tasks"


def resolved(*given, task="text_to_text", data="dates", architecture="decoder_only"):
    recipe = settings.defaults(task=task, data=data)
    recipe.model.update(architecture=architecture, width=8, num_heads=2, num_layers=1)
    recipe.data.update({"examples": 60, "evaluation_examples": 10, "num_buckets": 1} if data == "dates" else {})
    recipe.training.update(batch_size=8)
    return settings.resolve_values(recipe, dict(given))[0]


def read_by(config):
    not_read = unread(config)
    return {name for name in settings.schema.settings(settings.Config) if name not in not_read}


def test_a_path_a_class_a_row_and_a_registered_name_give_the_same_task():
    row = TaskRow(own_tasks.Century)
    register("task", "century", row)
    try:
        chosen = [f"{OWN}:Century", own_tasks.Century, row, "century"]
        configs = [resolved(("task.name", choice)) for choice in chosen]
        classes = [task_class(config.task, config.model.architecture) for config in configs]
        assert classes == [own_tasks.Century] * 4
        stored = [settings.to_json_dict(config)["task"]["name"] for config in configs]
        assert stored == [f"{OWN}:Century", "century", "century", "century"]
    finally:
        TASKS.remove("century")
    (code,) = code_from_outside(configs[0]).items()
    assert code[0] == "task.name"
    assert code[1]["module"] == OWN
    assert named_code(settings.Config, settings.to_json_dict(configs[0])) == {"task.name": f"{OWN}:Century"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_subclass_reads_the_settings_of_the_task_that_it_is_like(name):
    """All but the name of an objective, which is its own, and but the prefix of causal, which is another class."""
    objective = name in OBJECTIVES
    given = {"task.objective": name} if objective else {}
    task, data = ("language_modelling", "source_code") if objective else (name, "dates")
    architecture = BUILT_IN[name].architectures[-1]
    own = resolved(*given.items(), task=task, data=data, architecture=architecture)
    subclass = type("Subclass", (loaded(BUILT_IN[name].task),), {})
    other = resolved(("task.name", subclass), data=data, architecture=architecture)
    lost = {"task.objective"} if objective else set()
    assert read_by(own) - read_by(other) == lost | ({"task.bidirectional_prefix"} if name == "causal" else set())
    assert read_by(other) <= read_by(own)


def test_an_objective_with_a_class_for_prefixes_reads_the_setting_of_prefixes():
    prefix = type("Behind", (own_tasks.Lower,), {})
    row = TaskRow(own_tasks.Lower, prefix=prefix)
    given = ("task.objective", row), ("task.bidirectional_prefix", True)
    config = resolved(*given, task="language_modelling", data="source_code")
    assert task_class(config.task, "decoder_only") is prefix
    message = error_of(
        lambda: resolved(("task.objective", own_tasks.Lower), given[1], task="language_modelling", data="source_code")
    )
    assert f"task.bidirectional_prefix is not read by task 'language_modelling' with objective '{OWN}:Lower'" in message


def test_examples_are_transformed_before_tokenizers_are_fitted_and_read_own_settings():
    config = resolved(("task.name", f"{OWN}:shortened"), ("task.name_settings.dropped", 4))
    plain = read_examples(task_settings(resolved()), resolved().data)
    found = read_examples(task_settings(config), config.data)
    assert [pair.target for pair in found.train] == [pair.target[:-4] for pair in plain.train]
    assert {len(pair.target) for pair in found.test} == {6}
    assert (found.notes, found.fingerprint, found.ceiling) == (plain.notes, plain.fingerprint, None)
    lower = set_up(resolved(("task.name", own_tasks.Lower), data="source_code")).task
    assert not {"A", "Z"} & {*lower.tokenizers.source.alphabet}
    assert "z" in lower.tokenizers.source.alphabet


def test_a_task_reads_data_of_the_kind_that_it_names():
    experiment = set_up(resolved(("task.name", own_tasks.Century)))
    assert experiment.task.classes == ("19", "20")
    assert experiment.config.model.class_head.classes == 2


def test_an_objective_makes_batches_by_its_own_settings_and_names_its_scores():
    given = ("task.objective", f"{OWN}:later"), ("task.objective_settings.first", 5), ("task.context", 8)
    task = set_up(resolved(*given, task="language_modelling", data="source_code")).task
    weights = task.batches.at(0)["loss_weights"]
    np.testing.assert_array_equal(weights, np.tile(np.float32([0, 0, 0, 0, 0, 1, 1, 1]), (8, 1)))
    assert next(iter(task.metrics)) == "later_loss"
    assert task.metrics["later_loss"].unit == "nats per token"


def test_an_architecture_keeps_its_objective_where_others_are_registered():
    register("objective", "hidden", own_tasks.Hidden)
    try:
        config = resolved(task="language_modelling", data="source_code", architecture="encoder_only").task
        assert objective_of(config, "encoder_only") == "masked"
        message = error_of(
            lambda: resolved(("task.objective", "causal"), task="language_modelling", architecture="encoder_only")
        )
        assert "expected masked or continuation or hidden" in message
    finally:
        OBJECTIVES.remove("hidden")


@pytest.mark.parametrize(
    ("setting", "name", "message"),
    [
        ("task.name", "os:system", "task.name 'os:system' is no task; got <built-in function system>"),
        ("task.name", "math:pi", "task.name 'math:pi' is a float; expected a subclass of experiments.tasks.task.Task"),
        ("task.name", f"{OWN}:Unfinished", "lacks attention_view, batches, build, evaluation_batches, kind, "),
        ("task.objective", f"{OWN}:Nameless", "lacks attention_view, make_batch, objective, read_one"),
        ("task.name", f"{OWN}:other_family", "unknown architecture of task.name"),
        ("task.objective", f"{OWN}:Century", "is no objective of language modelling; got one like classification"),
        ("task.name", f"{OWN}:absent", "cannot be imported: AttributeError"),
    ],
)
def test_a_row_that_cannot_be_used_is_an_error_before_anything_starts(setting, name, message):
    task = "language_modelling" if setting == "task.objective" else "text_to_text"
    assert message in error_of(resolved, (setting, name), task=task)


def test_a_task_that_is_like_none_must_name_one():
    class Alone(loaded(BUILT_IN["text_to_text"].task).__mro__[2]):
        """A task of its own from the root on."""

    finished = type("Finished", (Alone,), dict.fromkeys([*Alone.__abstractmethods__, "kind"], "pairs"))
    message = error_of(check_row, TaskRow(finished), "task 'alone'")
    assert "task 'alone' is like none of the built-in tasks" in message
    check_row(TaskRow(finished, like="text_to_text"), "task 'alone'")
    assert "Did you mean" in error_of(check_row, TaskRow(finished, like="text_to_txt"), "task 'alone'")


@pytest.mark.parametrize(("setting", "task"), [("task.name", "text_to_text"), ("task.objective", "language_modelling")])
def test_a_row_that_does_not_train_the_architecture_is_an_error_that_names_what_to_do(setting, task):
    message = error_of(resolved, (setting, f"{OWN}:Hidden"), task=task, architecture="seq2seq")
    assert message.startswith(f"architecture 'seq2seq' cannot be trained by {setting} '{OWN}:Hidden'; expected ")
    assert message.endswith(f"{setting}={OWN}:Hidden needs model.architecture encoder_only.")


def test_an_objective_of_a_task_that_has_its_own_is_not_read():
    message = error_of(resolved, ("task.name", own_tasks.Hidden), ("task.objective", "masked"), data="source_code")
    assert f"cannot be trained by task.name '{OWN}:Hidden'" in message
    given = ("task.name", own_tasks.Hidden), ("task.objective", "masked")
    message = error_of(resolved, *given, data="source_code", architecture="encoder_only")
    assert f"task.objective is not read by task '{OWN}:Hidden' on architecture 'encoder_only'" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Texts", f"task '{OWN}:Texts', for train, gave no Pair; got example 0: a str"),
        ("Nothing", f"a split left empty: task '{OWN}:Nothing' gives nothing for training; got 0 for train, 10 for"),
    ],
)
def test_examples_that_become_something_else_are_an_error(name, message):
    assert message in error_of(set_up, resolved(("task.name", f"{OWN}:{name}")))


def test_the_name_of_a_score_that_a_task_has_is_taken():
    config = resolved(("task.name", f"{OWN}:shortened"), ("task.metrics", ["tests.fixtures.own_metrics:letters"]))
    splits = read_examples(task_settings(config), config.data)
    task = build_task(task_settings(config), splits, set_up(resolved()).task.tokenizers)
    assert list(task.metrics)[-2:] == ["letters", "same_length"]
    clash = type("Clash", (TextToText,), {"own_metrics": {"loss": own_metrics.distance}})
    assert "have one name; got 'loss'" in error_of(set_up, resolved(("task.name", clash)))


SMALL = {
    "model.architecture": "encoder_only",
    "model.width": 8,
    "model.num_heads": 2,
    "model.num_layers": 1,
    "training.steps": 8,
    "training.batch_size": 8,
    "training.output.evaluate_every": 2,
    "training.output.keep_last": 1,
    "training.output.tensorboard": False,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a task from outside with its own settings, ranked by a metric from outside."""
    own = {
        "task.name": f"{OWN}:shortened",
        "task.name_settings.dropped": 2,
        "task.metrics": ["tests.fixtures.own_metrics:codes"],
        "training.output.best": "codes",
        "data.examples": 60,
        "data.evaluation_examples": 10,
        "data.num_buckets": 1,
    }
    return api.train(settings.defaults(), SMALL | own, workdir=tmp_path_factory.mktemp("runs") / "own", progress=False)


@pytest.mark.more
def test_a_run_of_a_task_from_outside_is_opened_with_consent_answers_and_is_evaluated(trained):
    assert f"task.name = {OWN}:shortened" in error_of(api.open_run, trained.workdir)
    run = api.open_run(trained.workdir, "last", trust_code=True)
    assert run.task.settings.own == own_tasks.Ends(2)
    assert run.evaluate() == trained.evaluate()
    assert {"same_length", "codes", "exact_match"} <= run.evaluate().keys()
    alone = api.open_run(trained.workdir, "last", trust_code=True, read_data=False)
    assert alone.predict(["3 March 2024"]) == trained.predict(["3 March 2024"])
    code = json.loads((trained.workdir / "config.json").read_text())["code"]
    assert {name: own["module"] for name, own in code.items()} == {
        "task.name": OWN,
        "task.metrics.0": own_metrics.__name__,
    }


@pytest.mark.more
def test_a_metric_from_outside_ranks_the_checkpoints(trained):
    lines = [line for line in trained.metrics if line["split"] == "validation"]
    best = max(lines, key=lambda line: (line["codes"], -line["loss"]))
    assert best["step"] not in (lines[-1]["step"], min(lines, key=lambda line: (line["codes"], line["loss"]))["step"])
    assert api.open_run(trained.workdir, trust_code=True).step == best["step"]


@pytest.mark.more
def test_a_comparison_has_the_units_of_scores_from_outside(trained):
    units = read_result(str(trained.workdir)).units
    assert units["codes"] == ("max", "code points", (0.0, math.inf))
    assert units["same_length"] == ("max", "of answers", (0.0, 1.0))


@pytest.mark.more
def test_a_run_of_an_objective_from_outside_is_trained_opened_and_continues_a_text(tmp_path):
    register("objective", "hidden", own_tasks.Hidden)
    try:
        own = {"task.objective": "hidden", "task.context": 16, "training.steps": 2}
        own |= {"data.path": own_tasks.__file__, "data.files.validation_share": 0.2}
        recipe = settings.defaults(task="language_modelling", data="files")
        run = api.train(recipe, SMALL | own, workdir=tmp_path / "hidden", progress=False)
        again = api.open_run(run.workdir, read_data=False)
        assert again.predict(["de<mask> f"]) == run.predict(["de<mask> f"])
        assert "hidden_loss" in run.metrics[-1]
    finally:
        OBJECTIVES.remove("hidden")
    assert f"task.objective = hidden of {__name__}" in error_of(api.open_run, run.workdir)
