"""Claims about the config of an earlier run: its data may lie elsewhere, and nothing else may change."""

import json
import os
import shutil
from pathlib import Path

import pytest

from experiments import evaluate, explore, settings, sweep
from experiments.comparing import configs
from experiments.runs.open_run import open_run
from experiments.runs.stored_config import origin_named, stored_config
from experiments.storage.workdir import open_workdir
from experiments.training.experiment import set_up
from tests.fixtures.commands import fails
from tests.fixtures.stored_run import make_run, pairs
from transformer.errors import UserError

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a run that was trained in it, on a relative path."""
    folder = tmp_path_factory.mktemp("made")
    pairs(folder / "data" / "pairs.tsv")
    before = Path.cwd()
    os.chdir(folder)
    try:
        make_run(folder / "run", Path("data/pairs.tsv"))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of it at another place, whose record names that place."""
    copy = shutil.copytree(made, tmp_path / "made")
    record = json.loads((copy / "run" / "config.json").read_text())
    assert record["directory"] == str(made)
    (copy / "run" / "config.json").write_text(json.dumps({**record, "directory": str(copy)}))
    return copy


def test_relative_data_is_found_from_every_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_run(str(folder / "run")).experiment.config.data.path == str(folder / "data" / "pairs.tsv")
    monkeypatch.chdir(folder)
    assert open_run("run").step == 2


def test_data_that_has_moved_is_an_error_that_names_where_the_run_was_trained_and_the_flag(folder, tmp_path, capsys):
    shutil.move(folder / "data", tmp_path / "elsewhere")
    error = fails(evaluate.main, [f"--workdir={folder / 'run'}"], capsys)
    assert "data/pairs.tsv of data.path does not exist" in error
    assert f"was trained in {folder}" in error
    assert "--config.data.path=PATH" in error
    config, _ = stored_config(folder / "run")
    with pytest.raises(UserError, match="was trained in"), origin_named(folder / "run"):  # as training does
        set_up(config)
    other = settings.defaults(data="files")
    other.data.update(source_path="gone.a", target_path="gone.b")
    with pytest.raises(UserError, match=r"gone\.a of data\.source_path") as caught, origin_named(folder / "run"):
        set_up(settings.resolve(other)[0])
    assert "was trained in" not in str(caught.value)  # the run there did not read this file
    run_there = open_run(str(folder / "run"), paths=[("data.path", str(tmp_path / "elsewhere" / "pairs.tsv"))])
    assert len(run_there.experiment.task.splits.train) == 24


def test_paths_alone_may_change_and_the_content_may_not(folder, tmp_path, capsys):
    workdir = f"--workdir={folder / 'run'}"
    other = pairs(tmp_path / "other" / "pairs.tsv")
    other.write_text(other.read_text() + "more\tlines\n")
    error = fails(evaluate.main, [workdir, f"--config.data.path={other}"], capsys)
    assert "the names or the content of the files have changed" in error
    error = fails(evaluate.main, [workdir, "--config.model.width=8"], capsys)
    assert "--config.model.width cannot be changed for a run that is trained" in error
    error = fails(evaluate.main, [workdir, f"--config.data.test_path={other}"], capsys)
    assert "data.test_path cannot be given for a run that is trained; expected one of data.path" in error
    error = fails(explore.main, [workdir, "--input=a", f"--config.data.path={other}"], capsys)
    assert "--config.data.path is not read where --input gives the text" in error


def test_training_goes_on_with_data_at_another_place_and_with_no_other(tmp_path):
    def start(data: str, **paths: object) -> None:
        config = settings.defaults(data="files")
        config.data.update(paths)
        given = settings.to_json_dict(settings.resolve(config)[0])
        open_workdir(tmp_path / "run", given, differences=configs.differences, devices="here", data=data).close()

    start("print", path="old/x.tsv")
    start("print", path="new/x.tsv")
    start("print", path="new/x.tsv", validation_path=None)
    with pytest.raises(UserError, match=r"made with another config:\n  data\.path: 'new/x\.tsv' -> 'old/x\.tsv'"):
        start("another print", path="old/x.tsv")
    with pytest.raises(UserError, match=r"data\.test_path"):
        start("print", path="new/x.tsv", test_path=("new/x.tsv",))


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_data_whose_name_is_not_utf8_is_read_and_kept(tmp_path):
    make_run(tmp_path / "run", pairs(tmp_path / NOT_UTF8 / f"{NOT_UTF8}.tsv"))
    opened = open_run(str(tmp_path / "run"))
    assert opened.experiment.config.data.path == str(tmp_path / NOT_UTF8 / f"{NOT_UTF8}.tsv")
    (tmp_path / "run" / "config.json").read_bytes().decode()


@pytest.mark.parametrize(("name", "why"), [(NOT_UTF8, "is not UTF-8"), ("a [b]", "has a bracket")])
def test_a_workdir_whose_checkpoints_could_not_be_read_is_one_line_before_anything_starts(name, why, tmp_path):
    """Neither training, nor a sweep, nor a command that reads a run begins there."""
    sweep_flags = [f"--config={TINY}", f"--workdir={tmp_path / name}", "--sweep.seed=0:2"]
    for start in (
        lambda: make_run(tmp_path / name, pairs(tmp_path / "pairs.tsv")),
        lambda: open_run(str(tmp_path / name)),
        lambda: sweep.main(sweep_flags),
    ):
        with pytest.raises(UserError, match=f"the path of --workdir {why}"):
            start()
    assert not (tmp_path / name).exists()
