"""The examples in docstrings of the library run as they stand, and each function of `ops` and `decoding` has one."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("transformer/ops", "transformer/decoding")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py")


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("name", ["transformer", *map(name_of, FILES)])
def test_examples_run_and_return_what_they_show(name):
    runner, report = doctest.DocTestRunner(verbose=False), []
    for example in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)


def test_every_public_function_of_ops_and_decoding_has_an_example():
    lacking = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if public and ">>>" not in (ast.get_docstring(node) or ""):
                lacking.append(f"{name_of(path)}.{node.name}")
    assert not lacking
