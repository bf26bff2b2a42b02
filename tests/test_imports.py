"""Imports point one way. Every file is parsed, so that an import inside a function counts as well."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = [
    "axes errors leaves named_code nested own_settings ranges read_by schema small_example synonyms tables values",
    "ops",
    "nn",
    "models",
    "decoding",
    "interop inspection",
    "testing",
]
"""Each may import itself and what stands before it."""
COMMANDS = "train evaluate generate explore sweep plan bench compare check convert"
EXPERIMENTS = [
    "cli.recipes cli.help cli.names tasks.config tasks.metrics tasks.rows",
    "data",
    "tasks",
    "parallel",
    "storage",
    "training",
    "testing",
    "settings",
    "cli",
    "costs",
    "comparing",
    "runs",
    "sweeping converting",
    "studies benchmarks",
    "api",
    COMMANDS,
]
"""A part may import itself and what stands before it, but no other part of its own level."""
NOT_OURS = {
    "matplotlib",
    "orbax",
    "optax",
    "grain",
    "babel",
    "ml_collections",
    "tensorboardX",
    "rich",
    "scipy",
    "torch",
}


def files(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py"))


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Full names of the modules that a file imports; `from a import b` gives a.b."""
    package = name_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def within(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def place(name, package, levels):
    """(level, part) of a module by the first level that names it; None where no level does."""
    for height, level in enumerate(levels):
        for part in level.split():
            if within(name, [f"{package}.{part}"]):
                return height, part
    return None


def upward(package, levels):
    """Every import of a package that does not point down, as "module imports module"."""
    found = []
    for path in files(package):
        own = name_of(path)
        if own == package:
            continue
        assert place(own, package, levels) is not None, f"{own} stands in no level"
        height, part = place(own, package, levels)
        for name in imported(path):
            if within(name, [package]) and name != package:
                other_height, other = place(name, package, levels)
                if other_height > height or (other_height == height and other != part and height > 0):
                    found.append(f"{own} imports {name}")
    return found


def breaking(folder, is_allowed):
    """Every import of a folder's files that is not allowed, as "module imports module"."""
    return [
        f"{name_of(path)} imports {name}"
        for path in files(folder)
        for name in imported(path)
        if not is_allowed(path, name)
    ]


def test_the_files_are_found_and_read():
    assert len(files("transformer")) > 20
    attend = imported(ROOT / "transformer" / "ops" / "attend.py")
    assert {"jax.Array", "transformer.ops.kernels.choose", "transformer.ops.scores"} <= attend


def test_the_library_imports_downwards_and_never_the_experiments():
    assert not upward("transformer", LIBRARY)
    assert not breaking("transformer", lambda _, name: not within(name, ["experiments", "configs", "tests"]))


def test_ops_import_jax_and_jaxtyping_alone():
    allowed = {"jax", "jaxtyping", "transformer"} | sys.stdlib_module_names
    assert not breaking("transformer/ops", lambda _, name: name.split(".")[0] in allowed)


def test_the_library_imports_nothing_that_only_experiments_need():
    def is_allowed(path, name):
        drawing = {"matplotlib"} if within(name_of(path), ["transformer.inspection"]) else set()
        return name.split(".")[0] not in NOT_OURS - drawing

    assert not breaking("transformer", is_allowed)


def test_importing_the_library_does_not_reach_the_pictures():
    seen, left = set(), {"transformer"}
    while left:
        name = left.pop()
        seen.add(name)
        stem = ROOT.joinpath(*name.split("."))
        path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        if path.exists():
            found = {n for n in imported(path) if within(n, ["transformer"])}
            left |= (found | {n.rpartition(".")[0] for n in found}) - seen
    assert "transformer.ops.attend" in seen
    assert not [name for name in seen if within(name, ["transformer.inspection", "transformer.interop"])]


def test_experiments_import_downwards_and_never_a_command():
    assert not upward("experiments", EXPERIMENTS)


def test_no_import_stands_where_only_type_checkers_read_it():
    """Such an import hides a circle of modules."""
    text = {path: path.read_text() for folder in ("transformer", "experiments") for path in files(folder)}
    assert not [name_of(path) for path, source in text.items() if "TYPE_CHECKING" in source]


def test_the_top_of_experiments_holds_commands_and_settings_alone():
    names = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    assert names == {"__init__", "settings", "api", *COMMANDS.split()}


def test_recipes_import_configs_and_defaults_alone():
    def is_allowed(_, name):
        if within(name, ["transformer"]):
            return name.endswith("Config")
        return within(name, ["ml_collections", "experiments.settings"])

    assert not breaking("configs", is_allowed)


def test_no_modules_import_each_other_in_a_circle():
    modules = {name_of(path): path for folder in ("transformer", "experiments") for path in files(folder)}
    below = {}
    for own, path in modules.items():
        names = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        below[own] = {name for name in names if name in modules and name != own and not own.startswith(f"{name}.")}
    while True:  # take away what imports nothing that is left, until that is all, or only circles are left
        done = {own for own, names in below.items() if not names & set(below)}
        if not done:
            break
        below = {own: names for own, names in below.items() if own not in done}
    assert not below
