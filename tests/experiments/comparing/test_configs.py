"""Two configs differ in the settings that one of them reads."""

import json

import pytest

from experiments import settings
from experiments.comparing import configs
from experiments.settings import Config, defaults, resolve
from tests.fixtures.configs import DATES


def test_a_setting_that_neither_config_reads_is_no_difference():
    old = settings.to_json_dict(resolve(settings.load_recipe(DATES))[0])
    new = json.loads(json.dumps(old))
    new["model"]["num_layers"] = 9  # the depths of both stacks are set
    new["data"]["files"]["split"] = "tail"  # the source is dates
    assert configs.differences(old, new) == []
    new["model"]["num_decoder_layers"] = None
    assert [name for name, *_ in configs.differences(old, new)] == ["model.num_layers", "model.num_decoder_layers"]


def test_differences_are_named_with_both_values_and_whether_they_matter():
    old = settings.to_json_dict(resolve(defaults(), [("model.width", "64")])[0])
    new = settings.to_json_dict(resolve(defaults(), [("training.output.log_every", "7")])[0])
    assert configs.differences(old, new) == [
        ("model.width", 64, 128, True),
        ("training.output.log_every", 50, 7, False),
    ]
    assert configs.differences(old, old) == []


@pytest.mark.parametrize(("name", "text"), [("evaluate_every", "7"), ("best", "bleu"), ("log_every", "7")])
def test_with_patience_what_decides_when_training_ends_may_not_differ_on_resume(name, text):
    for patience, decides in ((None, False), ("3", name != "log_every")):
        flags = [("training.patience", patience)] if patience else []
        old, new = (
            settings.to_json_dict(resolve(defaults(), [*flags, *more])[0])
            for more in ([], [(f"training.output.{name}", text)])
        )
        ((found, *_, matters),) = configs.differences(old, new)
        assert (found, matters) == (f"training.output.{name}", decides)


def test_a_setting_that_an_older_version_lacked_counts_as_its_default():
    old, new = settings.to_json_dict(Config()), settings.to_json_dict(Config())
    del old["seed"], old["model"]["norm"]
    assert configs.differences(old, new) == []
    new["seed"] = 5
    assert configs.differences(old, new) == [("seed", 0, 5, True)]
    old["model"]["gone"] = 3
    assert configs.differences(old, new)[1:] == [("model.gone", 3, None, True)]
