"""The wheel contains the library alone, and works in an empty environment, from an unrelated folder."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.more

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the sources, so that no folder is left behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    shutil.copy(ROOT / "pyproject.toml", source)
    for package in ("transformer", "experiments", "configs", "tests"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = target.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_module_of_the_library_its_mark_of_types_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "transformer").rglob("*.py")}
    assert names == modules | {"transformer/py.typed"}


def test_the_wheel_needs_jax_flax_and_jaxtyping_alone(unpacked):
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    lines = [
        line.removeprefix("Requires-Dist: ") for line in metadata.read_text().splitlines() if "Requires-Dist" in line
    ]
    needed = {line.split(">")[0].strip() for line in lines if "extra ==" not in line}
    assert needed == {"jax", "flax", "jaxtyping"}


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """Create an environment with the wheel and its dependencies alone; return its interpreter."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution found" in done.stderr:
        pytest.skip(f"no package index can be reached, to install what the wheel needs: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


def run_alone(code, folder, alone):
    """Run `code` from `folder` in the environment of the wheel alone."""
    done = subprocess.run([alone, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_one_module_is_reused_from_an_unrelated_folder(alone, tmp_path):
    code = """
import jax.numpy as jnp
import transformer
from transformer.ops import masks
from transformer.ops.attend import attend
x = jnp.arange(60.0).reshape(1, 5, 2, 6) / 60
y = attend(x, x, x, mask=masks.causal())
print(transformer.__file__, y.shape == x.shape, bool((y[:, 0] == x[:, 0]).all()))
"""
    file, same_shape, first_attends_itself = run_alone(code, tmp_path, alone)
    assert Path(file).is_relative_to(alone.parents[2])
    assert (same_shape, first_attends_itself) == ("True", "True")


def test_a_model_is_built_and_applied_from_an_unrelated_folder(alone, tmp_path):
    code = """
import jax
import jax.numpy as jnp
import transformer
model = transformer.build({"architecture": "decoder_only", "vocab_size": 11, "width": 8, "num_heads": 2})
logits = jax.jit(model.apply)(jax.jit(model.init)(jax.random.key(0)), {"target": jnp.ones((2, 3), int)})["logits"]
import importlib.util
others = ("experiments", "matplotlib", "grain", "babel", "ml_collections")
print(*logits.shape, any(importlib.util.find_spec(name) for name in others))
"""
    assert run_alone(code, tmp_path, alone) == ["2", "3", "11", "False"]
