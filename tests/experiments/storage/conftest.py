"""Checkpoints to restore, and the lines that are printed while they are."""

from pathlib import Path

import pytest

from tests.fixtures.checkpoints import open_at, state_of


@pytest.fixture
def lines() -> list[str]:
    """Lines that are printed."""
    return []


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A directory with checkpoints 10 and 20; copied by the tests that damage it."""
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    with open_at(directory) as checkpoints:
        checkpoints.save(10, state_of(10), {"step": 10}, {"exact_match": 0.5})
        checkpoints.save(20, state_of(20), {"step": 20})
    return directory
