"""The folder in which runs are compared."""

import pytest

from experiments.storage import workdir as workdirs


@pytest.fixture
def quick_and_here(monkeypatch, tmp_path):
    """Write into a folder of the test's own, without what a record of a run takes long to find out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workdirs, "git_state", lambda: None)  # two processes each
    monkeypatch.setattr(workdirs, "versions", dict)  # reads the metadata of eight packages
