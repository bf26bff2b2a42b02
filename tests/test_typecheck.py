"""Annotations of the library are checked in the tests: `tests.typecheck` is at work."""

import jax.numpy as jnp
import pytest

from tests.typecheck import Loader
from transformer.errors import counted
from transformer.nn.parameter_axes import Axes
from transformer.ops.norms import rms_norm

REFUSED = r"Type-check error|violates type hint"
"""Words of jaxtyping's errors and of beartype's."""

CALLS = {
    "a shape that differs between two arguments": lambda: rms_norm(jnp.ones((2, 3)), jnp.ones(4)),
    "a type in a module without shapes": lambda: counted("three", "token"),
    "a field of a dataclass": lambda: Axes(("D",), ("N",), kind=3),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_against_an_annotation_is_a_type_error(call):
    with pytest.raises(TypeError, match=REFUSED):
        call()


def test_what_is_returned_is_checked_in_functions_methods_and_properties(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(
        "def function(x: int) -> str:\n    return x\n\n\nclass C:\n    def method(self) -> str:\n        return 3\n\n"
        "    @property\n    def own(self) -> str:\n        return 3\n"
    )
    names = {}
    exec(Loader("wrong", str(path)).get_code("wrong"), names)
    for call in (lambda: names["function"](3), lambda: names["C"]().method(), lambda: names["C"]().own):
        with pytest.raises(TypeError, match=REFUSED):
            call()
