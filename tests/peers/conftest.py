"""PyTorch and transformers, imported when a test asks; where one is missing, the test is skipped and says so."""

import importlib
from types import ModuleType

import pytest


def peer(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"{name} is not installed; `make test-peers` installs it")


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    return peer("torch")


@pytest.fixture(scope="session")
def hugging_face(torch: ModuleType) -> ModuleType:
    return peer("transformers")


@pytest.fixture(scope="session")
def make_golden(torch: ModuleType) -> ModuleType:
    """The script that makes the golden files: its models and helpers serve here too."""
    return importlib.import_module("tests.golden.make_golden")
