"""The form of the code: few parameters, no waivers, no type left open where it is known."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_PARAMETERS = 7
"""More than these belong together: a NamedTuple or a frozen dataclass."""
PUBLIC = {"attend", "attention_weights", "generate", "stream"}
"""Functions on arrays that a reader calls by hand, with all options by name."""


def sources(*folders):
    """(path below the root, text) of every Python file in the folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def functions(*folders):
    """(place, node) of every function, method and lambda in the folders."""
    for path, text in sources(*folders):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield f"{path}:{node.lineno} {getattr(node, 'name', 'lambda')}", node


def parameters(function):
    """The names of a function's parameters, without self and cls."""
    own = function.args
    several = [part for part in (own.vararg, own.kwarg) if part is not None]
    return [
        part for part in (*own.posonlyargs, *own.args, *own.kwonlyargs, *several) if part.arg not in ("self", "cls")
    ]


def lines(pattern, *folders):
    """Every line in the folders that a pattern is found in, as "file:line text"."""
    return [
        f"{path}:{number} {line.strip()}"
        for path, text in sources(*folders)
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]


def test_functions_of_the_library_have_few_parameters():
    found = {place: len(parameters(node)) for place, node in functions("transformer")}
    assert len(found) > 200
    assert max(found.values()) > MOST_PARAMETERS, "parameters are not counted"
    longer = {place: count for place, count in found.items() if count > MOST_PARAMETERS}
    assert not {place: count for place, count in longer.items() if place.split()[-1] not in PUBLIC}


def test_no_lambda_is_bound_to_a_name_under_a_waiver():
    assert not lines("noqa: *E731", "transformer", "experiments", "tests")


def test_no_lines_are_kept_from_the_formatter():
    assert not lines("fmt: *(skip|off)", "transformer", "experiments")


def test_modules_of_the_library_read_settings_through_a_type():
    assert not lines(r"\bconfig: Any\b", "transformer")
