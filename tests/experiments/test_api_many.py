"""Many runs from Python: `api.compare` on stored runs, `api.sweep` over a space."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import api
from experiments.training import tables
from tests.fixtures.stored_run import make_run, pairs, put_setting
from tests.fixtures.tiny_sweep import recipe
from transformer import UserError


@pytest.fixture(autouse=True)
def without_pandas(monkeypatch):
    """Tables are lists, whether or not the packages of `make test-peers` are installed."""
    monkeypatch.setitem(sys.modules, "pandas", None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in their seed and in a setting."""
    folder = tmp_path_factory.mktemp("many")
    data = pairs(folder / "pairs.tsv")
    for name, seed in (("a", 0), ("b", 1)):
        make_run(folder / name, data)
        put_setting(folder / name, "seed", seed)
        put_setting(folder / name, "training.steps", 2)
    put_setting(folder / "b", "optimizer.learning_rate", 0.5)
    return [folder / "a", folder / "b"]


def test_runs_are_compared_by_a_metric(runs):
    found = api.compare([runs[0], SimpleNamespace(workdir=runs[1])], metric="exact_match")
    assert found.settings == {"optimizer.learning_rate": (0.001, 0.5), "seed": (0, 1)}
    first, second = found.table()
    assert (first["metric"], first["mean"], first["difference mean"]) == ("exact_match", 0.5, 0.0)
    assert (second["optimizer.learning_rate"], second["low"], second["difference mean"]) == (0.5, None, None)
    shown = found._repr_mimebundle_()
    assert shown["text/plain"].startswith("Comparison of 2 runs\ngroup 1: optimizer.learning_rate = 0.001")
    assert "<td>exact_match</td>" in shown["text/html"]
    assert "<td>loss</td>" not in shown["text/html"]


def test_a_table_is_a_data_frame_where_pandas_is_installed(monkeypatch):
    fake = SimpleNamespace(DataFrame=lambda rows: ("frame", rows), __spec__=importlib.util.find_spec("json"))
    monkeypatch.setitem(sys.modules, "pandas", fake)
    assert tables.data_frame([{"a": 1}]) == ("frame", [{"a": 1}])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert tables.data_frame([{"a": 1}]) == [{"a": 1}]


MISTAKES = {
    "no list": (lambda runs: api.compare("runs/a"), "runs is no list; got 'runs/a'"),
    "none": (lambda runs: api.compare([]), "there are no runs to compare"),
    "one run": (lambda runs: api.compare(runs[:1]), "one run alone has nothing to be compared with"),
    "a run twice": (lambda runs: api.compare([runs[0]] * 2), "is given twice. Give each run once."),
    "an unknown metric": (lambda runs: api.compare(runs, metric="exact"), "Did you mean 'exact_match'?"),
    "no values": (
        lambda runs: api.sweep("dates", {"model.width": 3}, workdir="x"),
        "the values of model.width are no list; got 3; expected a list of values, a range, api.log(low, high)",
    ),
    "no space": (lambda runs: api.sweep("dates", ["seed"], workdir="x"), "the space is no dict; got ['seed'] (list)"),
    "nothing varied": (
        lambda runs: api.sweep("dates", workdir="x"),
        'nothing is varied; got an empty space; expected one setting or more. Give {"SETTING": VALUES}.',
    ),
    "endless": (
        lambda runs: api.sweep("dates", {"optimizer.learning_rate": api.log(1e-4, 1e-2)}, workdir="x"),
        "trials must be given: the space has ranges; got none; expected a number of combinations",
    ),
    "fixed": (
        lambda runs: api.sweep("dates", {"model.width": [8, 16]}, {"model.width": 8}, workdir="x"),
        "model.width is varied by the sweep and fixed by the overrides. Leave one of them out.",
    ),
    "an unknown option": (
        lambda runs: api.sweep("dates", {"model.width": [8, 16]}, workdir="x", lane=2),
        "unknown option of a sweep; got 'lane'",
    ),
    "an option out of range": (
        lambda runs: api.sweep("dates", {"model.width": [8, 16]}, workdir="x", lanes=0),
        "lanes is out of range; got 0",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_raises_an_error_in_the_words_of_python(name, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, what = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        call(runs)
    assert what in str(caught.value)
    assert "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.more
def test_a_sweep_has_a_table_and_its_best_run_and_goes_on_where_it_ended(tmp_path, capfd):
    space = {"optimizer.learning_rate": np.array([1e-3, 1e-2]), "seed": range(2)}
    sweep = api.sweep(recipe(), space, workdir=tmp_path / "sweep", progress=False)
    assert not any(capfd.readouterr())
    rows = sweep.table()
    assert sorted(row["optimizer.learning_rate"] for row in rows) == [1e-3, 1e-2]
    assert all((row["seeds"], row["low"], row["ended"]) == (2, None, "finished") for row in rows)
    run = sweep.best()
    assert run.config.optimizer.learning_rate == rows[0]["optimizer.learning_rate"]
    assert run.workdir.parent == tmp_path / "sweep" / "trials"
    shown = sweep._repr_mimebundle_()
    assert "<caption>trials by validation" in shown["text/html"]
    assert '<img src="data:image/png;base64,' in shown["text/html"]
    again = api.sweep(recipe(), space, workdir=tmp_path / "sweep", progress=False)
    assert again.table() == rows
