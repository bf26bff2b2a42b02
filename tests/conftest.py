"""The set-up of all tests: annotations are checked, compiled programs kept, examples always the same."""

import functools
import gc
import os
import signal
from pathlib import Path

# In the environment, and before JAX is imported, so that processes which a test starts share the programs. To store a
# program takes 0.1 s, so that only those that take longer to compile are stored: as the commands do (`compilation`).
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Tiny programs take four times as long to optimise as they save; fused kernels without MLIR compile in half the time,
# and a module that is not split for the cores, of which each worker has one, in four fifths.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", QUICK)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

from tests import typecheck  # noqa: E402

typecheck.install("transformer")

from experiments.cli.compiler import guard  # noqa: E402

guard()  # as commands do, so that those which tests call find it done

hypothesis.settings.register_profile("tests", deadline=None, max_examples=25, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")


# A shell that starts the tests in the background lets them ignore these signals, and so every process that they start.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


FIRST = (
    "test_mesh.py",
    "test_kills.py",
    "test_tutorials.py",
    "test_several.py",
    "test_random_damage.py",
    "test_examples_run.py",
    "test_tables.py",
    "test_variants.py",
    "test_programs.py",
    "test_resume.py",
    "test_lanes_run.py",
    "test_api.py",
    "test_mistakes.py",
    "test_update.py",
    "test_padding.py",
    "test_init.py",
    "test_every_setting.py",
    "test_lanes.py",
    "test_ladder.py",
    "test_cells.py",
    "test_commands.py",
    "test_printing.py",
    "test_capture.py",
    "test_wheel.py",
)
"""Files that take longest, in the core or in `make test-more`: begun last, they would leave one worker without work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def pytest_collection_finish() -> None:
    """Search for garbage rarely, and not among what was imported: traced programs are many objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_configure(config: pytest.Config) -> None:
    # Two workers may meet at one entry of the compilation cache; the loser compiles for itself.
    for verb in ("reading", "writing"):
        config.addinivalue_line("filterwarnings", f"ignore:Error {verb} persistent compilation cache entry")


@pytest.fixture(scope="module")
def fused_as_users_have_it():
    """Programs are compiled by XLA's MLIR emitters, as in a user's run, though other tests do without for speed.

    Without them XLA rounds a computation otherwise in a loop, in parts or after an export than by itself, so tests that
    compare the values of two programs closely ask for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True}))
        yield


@pytest.fixture(scope="module")
def shapes_once():
    """The shapes of parameters are traced once for each config of a file, not once for each model that is built.

    For files that open one run many times; not for those that change rows of the tables.
    """
    from tests.fixtures.shapes import traced_once

    with traced_once():
        yield


@pytest.fixture(scope="module")
def without_pictures():
    """Trainings in this process draw nothing: for files that compare bits and lines, not pictures."""
    from tests.fixtures.processes import no_pictures

    with no_pictures():
        yield


@pytest.fixture
def seed():
    """The seed of a test of random inputs: 0, or that of `TEST_SEED=7 make test-more`; printed where the test fails."""
    seed = int(os.environ.get("TEST_SEED", "0"))
    print(f"TEST_SEED={seed}")
    return seed


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """The path of a text of some thousand words."""
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("".join(f"{i} and {i * i}; " for i in range(1500)), encoding="utf-8")
    return str(path)
