from pathlib import Path

from experiments import api

RECIPE = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"
SETTINGS = {
    "model": {"architecture": "tests.fixtures.own_modules:averages", "dropout": None},
    "training": {"steps": 4, "accumulation": 1, "ema_decay": None, "output": {"evaluate_every": 2}},
    "training.output.tensorboard": False,
    "data.num_buckets": 1,
}


def test_an_architecture_of_ones_own_trains_is_stored_and_answers(tmp_path):
    api.train(RECIPE, SETTINGS, workdir=tmp_path / "run", progress=False)
    run = api.open_run(tmp_path / "run", checkpoint="last", trust_code=True)
    assert run.config.model.architecture == SETTINGS["model"]["architecture"]
    assert "average" in run.params
    (answer,) = run.predict(["3 March 2004"])
    assert isinstance(answer.text, str)
    assert run.task.frame.__class__.__name__ == "DecoderOnly"
