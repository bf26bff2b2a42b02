"""Claims about runs with rows from outside: what is stored of their code, consent, and code that has changed."""

import hashlib
import json
import shutil

import pytest

from experiments import settings
from experiments.comparing import configs
from experiments.comparing.results import read_results
from experiments.runs.open_run import open_run
from experiments.runs.stored_config import stored_config
from experiments.storage.workdir import open_workdir
from tests.fixtures.commands import error_of
from tests.fixtures.own_module import NAME, forget, own_module
from tests.fixtures.stored_run import make_run
from transformer.named_code import code_from_outside, import_modules

__all__ = ["own_module"]


@pytest.fixture
def workdir(own_module, tmp_path):
    """A run that read its data by the module's row; the module is forgotten."""
    data = tmp_path / "pairs.csv"
    data.write_text("".join(f"a{i} b;c {i}\n" for i in range(30)))
    import_modules([NAME])
    make_run(tmp_path / "run", data, "semicolons")
    forget()
    return tmp_path / "run"


def test_the_module_and_the_hash_of_its_file_are_stored(workdir, own_module):
    code = json.loads((workdir / "config.json").read_text())["code"]
    sha256 = hashlib.sha256(own_module.read_bytes()).hexdigest()
    assert code == {"data.files.format": {"module": NAME, "sha256": sha256}}


def test_a_registered_row_that_is_not_there_needs_its_module_or_consent(workdir):
    message = error_of(stored_config, workdir)
    assert f"data.files.format = semicolons of {NAME}" in message
    assert "--trust_code" in message
    import_modules([NAME])  # as --import does
    assert stored_config(workdir)[0].data.files.format == "semicolons"
    forget()
    assert stored_config(workdir, trust_code=True)[0].data.files.format == "semicolons"


def test_a_run_whose_row_is_not_there_is_compared(workdir):
    (one, other) = read_results([str(workdir), str(shutil.copytree(workdir, workdir.with_name("copy")))])
    assert one.setting("data.files.format") == other.setting("data.files.format") == "semicolons"
    assert configs.differences(one.config, other.config) == []


def test_code_that_has_changed_is_named_when_the_run_is_opened_and_trained_again(workdir, own_module, capsys):
    import_modules([NAME])
    open_run(str(workdir))
    assert "has changed" not in capsys.readouterr().err
    own_module.write_text(own_module.read_text() + "\n# changed\n")
    open_run(str(workdir))
    line = "note: the code that data.files.format names has changed since this run began\n"
    assert capsys.readouterr().err.count(line) == 1
    config, record = stored_config(workdir)
    again = open_workdir(
        workdir,
        settings.to_json_dict(config),
        differences=configs.differences,
        devices="test",
        data=record["data"],
        code=code_from_outside(config),
    )
    with again:
        assert again.changed_code == ("data.files.format",)
