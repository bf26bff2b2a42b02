"""A config is checked once between the command line and the model that is trained."""

import dataclasses
from pathlib import Path

import pytest

import transformer
from experiments import settings
from experiments.training.experiment import set_up
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
