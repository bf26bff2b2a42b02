"""The wheel contains both packages and the recipes; it works from an unrelated folder, the library without extras."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.more

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the sources, so that no folder is left behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
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


def test_the_wheel_holds_every_module_the_mark_of_types_the_recipes_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    packages = ("transformer", "experiments")
    modules = {str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("*.py")}
    recipes = {f"experiments/recipes/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert names == modules | recipes | {"transformer/py.typed"}


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
others = ("configs", "matplotlib", "grain", "babel", "ml_collections")
print(*logits.shape, any(importlib.util.find_spec(name) for name in others))
"""
    assert run_alone(code, tmp_path, alone) == ["2", "3", "11", "False"]


@pytest.mark.parametrize("code", ["import experiments", "from experiments import api"])
def test_without_the_extra_the_error_gives_the_command_that_installs_it(code, alone, tmp_path):
    done = subprocess.run([alone, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: experiments needs babel, ")
    assert last.endswith("Install it: pip install 'transformer[experiments]'")


def test_a_command_without_the_extra_ends_with_one_line(alone, tmp_path):
    command = [alone, "-m", "experiments.train", "--config=dates"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: experiments needs babel, ")
    assert len(done.stderr.splitlines()) == 1


NOTEBOOK = """
import sys
sys.path.insert(0, sys.argv[1])
from experiments import api
from experiments.cli.compilation import cache_folder
from experiments.storage.workdir import git_state
overrides = {
    "training.steps": 2, "model.num_encoder_layers": 1, "model.num_decoder_layers": 1,
    "model.width": 8, "model.num_heads": 2, "training.batch_size": 4, "data.examples": 100,
    "data.evaluation_examples": 4, "data.num_buckets": 1, "training.output.tensorboard": False,
}
run = api.train("dates", overrides, workdir="run", progress=False)
run = api.open_run("run")
run.predict(["20. November 2026"])
run.draw_curves().savefig("curves.png")
import experiments
print(experiments.__file__, git_state(), cache_folder())
"""


def test_a_notebook_far_from_the_checkout_trains_opens_predicts_and_draws(unpacked, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-c", NOTEBOOK, str(unpacked)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    file, git, cache = done.stdout.split()
    assert Path(file).is_relative_to(unpacked)
    assert git == "None"
    assert Path(cache).is_relative_to(tmp_path / "cache")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    versions = json.loads((tmp_path / "run" / "config.json").read_text())["versions"]
    assert versions["transformer"] == VERSION
