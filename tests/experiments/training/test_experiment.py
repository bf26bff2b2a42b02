"""A config is checked once between the command line and the model that is trained."""

import dataclasses
from pathlib import Path

import pytest

import transformer
from experiments import settings
from experiments.training.experiment import set_up
from tests.fixtures.tiny_recipes import tiny_recipe, write_files
from transformer.models import contradictions

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"


@pytest.fixture
def checks(monkeypatch):
    """The configs that the whole check of a model is called with."""
    called, check = [], contradictions.check
    monkeypatch.setattr(contradictions, "check", lambda config: (called.append(config), check(config)))
    return called


def test_a_models_config_is_checked_once_from_the_flags_to_the_model(checks):
    flags = [("model.position", "learned"), ("data.examples", "40"), ("data.evaluation_examples", "8")]
    config, _ = settings.resolve(settings.load_recipe(str(TINY)), flags)
    assert len(checks) == 1
    experiment = set_up(config)
    assert len(checks) == 1
    model = experiment.config.model
    assert experiment.model.config is model is model.resolved()
    assert model.vocab_size == experiment.task.vocab_size
    assert model.max_length is not None
    assert transformer.build(dataclasses.replace(model)).config == model
    assert len(checks) == 2


def test_a_stored_config_is_checked_once_and_is_the_same_when_it_is_resolved(checks):
    flags = [("data.examples", "40"), ("data.evaluation_examples", "8")]
    config = set_up(settings.resolve(settings.load_recipe(str(TINY)), flags)[0]).config
    checks.clear()
    stored = settings.from_json_dict(settings.to_json_dict(config))
    assert set_up(stored).config == config
    assert len(checks) == 1


@pytest.mark.parametrize("recipe", ["shakespeare_char", "text_to_text"])
def test_a_text_is_not_padded_beyond_a_table_of_positions_that_is_as_long_as_the_data(recipe, tmp_path):
    others = {"model__architecture": "decoder_only", "model__position": "learned", "model__max_length": "none"}
    trained = set_up(tiny_recipe(recipe, write_files(tmp_path), **others))
    task, longest = trained.task, trained.model.config.max_length
    steps, text = max(task.max_answer_length // 2, 1), "the cat " * longest
    (most,) = (
        text[:end]
        for end in range(1, len(text))
        if task.sequence_length(*task.read([text[:end]]), steps) == longest
        and task.sequence_length(*task.read([text[: end + 1]]), steps) > longest
    )
    shapes = [
        {name: x.shape for name, x in next(each.task.prompts([most], steps=steps)).items()}
        for each in (trained, set_up(trained.config))  # as it was trained, and as it is opened
    ]
    assert shapes[0] == shapes[1]
    assert shapes[0]["target"][1] + steps - 1 <= longest
