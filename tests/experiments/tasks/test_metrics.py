"""Metrics from outside: their scores in evaluations of answers and labels, and the errors of what cannot be used."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import settings
from experiments.comparing.metric_units import metric_of
from experiments.parallel.processes import Processes
from experiments.settings import defaults, resolve
from experiments.tasks.metrics import METRICS, TextMetric
from experiments.training import evaluation
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import set_up
from tests.fixtures import own_metrics
from tests.fixtures.commands import error_of
from tests.fixtures.configs import override_error
from transformer.named_code import code_from_outside, named_code
from transformer.tables import register

HERE = "tests.fixtures.own_metrics"


def tiny(metrics, *flags, **task):
    recipe = defaults(data={"classification": "date_language"}.get(task.get("name"), "dates"))
    recipe.task.update(metrics=metrics, **task)
    recipe.model.update(width=8, num_heads=2, num_layers=1, architecture="decoder_only")
    recipe.data.update(examples=2000)
    recipe.training.update(batch_size=8)
    return resolve(recipe, flags)[0]


def scored(config, answers=None):
    """The task, the first validation examples and their scores with the first parameters."""
    experiment = set_up(config)
    task, params = experiment.task, jax.tree.map(lambda x: np.zeros(x.shape), experiment.model.parameter_shapes)
    examples = task.splits.validation[:5]
    given = None if answers is None else answers(task, examples)
    evaluation = Evaluation(experiment.model, task, config.decoding)
    return experiment, examples, evaluation.score(params, examples, given)


def right_but_for_one(task, examples):
    """The targets' tokens, but nothing for the first."""
    rows = [task.tokenizers.target.encode(pair.target) for pair in examples]
    rows = [np.append(row, task.end) for row in rows]
    rows[0] = np.array([task.end])
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row))) for row in rows])


def test_scores_of_answers_stand_beside_the_tasks_own_and_may_select_the_best():
    register("metric", "by_letters", own_metrics.letters)
    try:
        paths = ["by_letters", f"{HERE}:distance"]
        experiment, examples, scores = scored(tiny(paths, ("training.output.best", "distance")), right_but_for_one)
        assert metric_of("by_letters", {}).mode == "max"
        metric = experiment.task.metrics["distance"]
    finally:
        METRICS.remove("by_letters")
    assert scores["exact_match"] == 0.8
    assert scores["by_letters"] == 0.8
    assert scores["distance"] == len(examples[0].target) ** 2 / 5
    assert list(scores)[-2:] == ["by_letters", "distance"]
    assert (metric.mode, metric.unit, metric.bounds) == ("min", "letters^2", (0.0, 1e9))
    assert experiment.config.training.output.best == "distance"


def test_scores_of_a_classifier_are_of_its_labels():
    given = []

    def keep(answers, references):
        given.append((answers, references))
        return 3

    experiment, examples, scores = scored(tiny([keep], name="classification"))
    assert scores["keep"] == 3.0
    answers, references = given[-1]
    assert references == [pair.target for pair in examples]
    assert len(answers) == len(references)
    assert set(answers) <= set(experiment.task.classes)


def test_flags_paths_and_objects_name_the_same_metrics_and_files_hold_their_paths():
    by_flag = resolve(defaults(), [("task.metrics", f"{HERE}:letters,{HERE}:distance")])[0]
    by_object = tiny([own_metrics.letters])
    paths = [f"{HERE}:letters", f"{HERE}:distance"]
    stored = settings.to_json_dict(by_flag)
    assert stored["task"]["metrics"] == paths
    assert settings.to_json_dict(by_object)["task"]["metrics"] == paths[:1]
    assert settings.from_json_dict(stored) == by_flag
    assert named_code(settings.Config, stored) == {f"task.metrics.{i}": path for i, path in enumerate(paths)}
    assert {name: code["module"] for name, code in code_from_outside(by_flag).items()} == {
        "task.metrics.0": HERE,
        "task.metrics.1": HERE,
    }


BAD = {
    "of_one_argument": "fails on a small example; got TypeError: of_one_argument() takes 1 positional argument",
    "failing": "fails on a small example; got TypeError: list indices must be integers",
    "words": "gave something else; got 'good'; expected a function of (answers, references)",
    "HERE": "cannot be imported: AttributeError",
}


@pytest.mark.parametrize("name", BAD)
def test_a_metric_that_cannot_be_used_is_refused(name):
    error = override_error(("task.metrics", f"{HERE}:letters,{HERE}:{name}"))
    assert error.startswith(f"task.metrics '{HERE}:{name}' ")
    assert BAD[name] in error


def test_two_scores_of_one_name_and_a_wrong_mode_are_errors():
    error = error_of(lambda: set_up(tiny([own_metrics.loss])))
    assert error.startswith("two scores of task.metrics and the task have one name; got 'loss'")
    error = error_of(TextMetric, own_metrics.letters, mode="best")
    assert error == 'unknown mode of a metric; got \'best\'; expected "max" or "min"'
    assert "is not read by task 'language_modelling'" in override_error(
        ("task.name", "language_modelling"), ("task.metrics", f"{HERE}:letters")
    )


def test_several_processes_have_the_scores_of_the_first(monkeypatch):
    class Second(Processes):
        def gather(self, value):
            return [{"distance": 0.25}, value]

    monkeypatch.setattr(evaluation, "processes", lambda: Second(2, 1))
    config = tiny([f"{HERE}:distance"])
    experiment = set_up(config)
    examples = experiment.task.splits.validation[:5]
    answers = right_but_for_one(experiment.task, examples)
    alone = Evaluation(experiment.model, experiment.task, config.decoding)
    assert alone._own_scores(None, examples, answers)["distance"] != 0.25
    placed = Evaluation(experiment.model, experiment.task, config.decoding, placement=SimpleNamespace(whole=None))
    assert placed._own_scores(None, examples, answers) == {"distance": 0.25}
