"""Pages that are made when the site is built: settings, the API reference, tutorials, and pages of the checkout's root.

MkDocs calls these functions by their names.
"""

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jupytext
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PAGES = {"STUDIES.md": "studies.md", "STUDIES.zh.md": "studies.zh.md", "BENCHMARKS.md": "benchmarks.md"}
"""Page of the checkout's root -> page of the site."""
PACKAGES = ("transformer", "experiments/api.py", "experiments/testing")
"""Folders and files whose modules are in the API reference."""


def on_config(config: Any) -> Any:
    """Add the pages of the API reference to the navigation."""
    groups = [{group: [{label: f"reference/{name}.md"} for label, name in own]} for group, own in grouped(modules())]
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference += [{"API": groups}]
    return config


def grouped(names: Iterable[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Group modules by package: (group, [(name within the group, full name), ...]), modules of no package first."""
    names = list(names)
    packages = {name.rpartition(".")[0] for name in names}
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        top, _, rest = name.partition(".")
        group = rest.split(".")[0] if f"{top}.{rest.split('.')[0]}" in packages else top
        label = rest.removeprefix(f"{group}.") if rest else top
        groups.setdefault(group if group == top or top == "transformer" else f"{top}.{group}", []).append((label, name))
    return list(groups.items())


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=of_the_root((ROOT / path).read_text(encoding="utf-8"))))
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=tutorial(path)))
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        page = f"# {path.stem}\n\n`examples/{path.name}`\n\n```python\n{code}```\n"
        files.append(File.generated(config, f"examples/{path.stem}.md", content=page))
    for name in modules():
        files.append(File.generated(config, f"reference/{name}.md", content=reference_page(name)))
    files.append(File.generated(config, "settings.md", content=settings_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Replace the links to files of the checkout by those to their pages of the site."""
    folder = Path(page.file.src_uri).parent
    return re.sub(r"\]\(([^)#\s]+)", lambda found: f"]({site_link(found[1], folder)}", markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """State the language of a page that is not in that of the site."""
    chinese = page.file.src_uri == PAGES["STUDIES.zh.md"]
    return output.replace("<article ", '<article lang="zh-Hans" ', 1) if chinese else output


def on_post_build(config: Any) -> None:
    """Check that every public function and class of the API reference has a place on its page.

    Raises:
        PluginError: one is missing.
    """
    missing = []
    for name in modules():
        page = Path(config.site_dir, "reference", f"{name}.html").read_text(encoding="utf-8")
        missing += [f"{name}.{own}" for own in public_names(name) if f'id="{name}.{own}"' not in page]
    if missing:
        raise PluginError(f"no place in the API reference: {', '.join(missing)}")


def public_names(module: str) -> list[str]:
    """Return the names of the public functions and classes that a module defines."""
    body = ast.parse(source_of(module).read_text(encoding="utf-8")).body
    defined = (node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [name for name in defined if not name.startswith("_")]


def modules() -> Iterator[str]:
    """Yield the full names of the modules of the API reference."""
    for place in PACKAGES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if not any(part.startswith("_") and part != "__init__" for part in parts):
                yield ".".join(part for part in parts if part != "__init__")


def reference_page(module: str) -> str:
    """Return the page of a module; one that declares settings begins with a link to their meanings."""
    declares = re.search(r"^    \w+: .* = setting\(", source_of(module).read_text(encoding="utf-8"), re.MULTILINE)
    link = "Settings of a recipe, with their meanings and allowed values: [Settings](../settings.md).\n\n"
    return f"{link * bool(declares)}::: {module}\n"


def source_of(module: str) -> Path:
    """Return the file of a module."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def of_the_root(text: str) -> str:
    """Return a page of the root with links that are right within the site."""
    for path, page in PAGES.items():
        text = text.replace(f"]({path}", f"]({page}")
    text = text.replace("](docs/", "](")
    return text


def site_link(link: str, folder: Path) -> str:
    """Return a link as it is within the site; one that is no file of the checkout with a page of its own stays.

    Args:
        folder: folder of the page that has the link, below docs/.
    """
    path = os.path.normpath(ROOT / "docs" / folder / link)
    name = os.path.relpath(path, ROOT)
    parent, file = os.path.split(name)
    page = PAGES.get(name, "settings.md" if name == "experiments/settings.py" else None)
    if file.endswith(".py") and parent in ("examples", "docs/tutorials"):
        page = f"{parent.removeprefix('docs/')}/{file.removesuffix('.py')}.md"
    return link if page is None else os.path.relpath(page, folder)


def tutorial(path: Path) -> str:
    """Return a notebook that is kept as text as a page, with its figure below the last cell of code."""
    notebook = jupytext.read(path)
    text = jupytext.writes(notebook, fmt="md")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    picture = path.with_suffix(".png")
    if picture.exists():
        end = text.index("\n```\n", text.rindex("```python\n")) + len("\n```\n")
        text = f"{text[:end]}\n![The figure that this tutorial draws]({picture.name})\n{text[end:]}"
    source = f"This page is the notebook `docs/tutorials/{path.name}`: `jupytext --to ipynb` makes a notebook of it.\n"
    return f"{text}\n---\n\n{source}"


def settings_page() -> str:
    """Return the page of all settings: a table for each section of the config."""
    from experiments import settings
    from transformer import schema

    leaves = schema.settings(settings.Config)
    started = ", ".join(f"`{name}={schema.show(value)}`" for name, value in settings.OF_RECIPES.items())
    sections: dict[str, list[str]] = {}
    for name in leaves:
        section, _, _ = name.rpartition(".")
        sections.setdefault(section, []).append(name)
    lines = [
        "# Settings",
        "",
        "Every setting of a recipe, from the schema that checks them. A flag `--config.SECTION.NAME=VALUE` gives one;"
        f" `--help=SECTION` prints the same on a terminal. Recipes start with {started}, not with the default.",
        "",
        "Settings of a chosen row are listed by `--help=model` with the recipe.",
    ]
    for section, names in sections.items():
        lines += ["", f"## {section or 'Without a section'}", ""]
        lines += [] if section else ["A flag of these has no section: `--config.seed=1`.", ""]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        lines += [setting_row(name, leaves[name]) for name in names]
    return "\n".join(lines) + "\n"


def setting_row(name: str, leaf: Any) -> str:
    """Return the row of a setting."""
    from experiments.cli.help import described
    from transformer import schema

    default = schema.show(leaf.default)
    cells = [f"`{name.rpartition('.')[2]}`", f"`{default}`" if default else "(empty)", "<br>".join(described(leaf))]
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"
