"""What tests of experiments ask for by name."""

import functools

import jax
import pytest


@pytest.fixture(scope="module")
def fused_as_users_have_it():
    """Programs are compiled by XLA's MLIR emitters, as in a user's run, though other tests do without for speed.

    Without them XLA rounds a computation otherwise in a loop, in parts or after an export than by itself, so tests that
    compare the values of two programs closely ask for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True}))
        yield


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """The path of a text of some thousand words."""
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("".join(f"{i} and {i * i}; " for i in range(1500)), encoding="utf-8")
    return str(path)
