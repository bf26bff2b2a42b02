"""The documentation site: pages that are made, and the API reference; where the libraries of the site are installed."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
for library in ("jupytext", "mkdocs", "griffe"):
    pytest.importorskip(library, reason=f"{library} is not installed; `make docs` installs it")
sys.path.insert(0, str(ROOT / "docs"))
import docstrings  # noqa: E402
import griffe  # noqa: E402
import hooks  # noqa: E402


def test_the_page_of_settings_says_where_recipes_leave_the_defaults():
    from experiments.settings import OF_RECIPES

    page = hooks.settings_page()
    for name, value in OF_RECIPES.items():
        assert f"Recipes start with `{name}={value}`" in page
    assert "## top" not in page
    start = page.index("## Without a section")
    assert "`--config.seed=1`" in page[start:]
    assert "| `seed` |" in page[start:]


def test_modules_are_grouped_by_package_with_short_names():
    names = ["transformer", "transformer.axes", "transformer.ops", "transformer.ops.masks"]
    names += ["transformer.nn", "transformer.nn.recurrent", "transformer.nn.recurrent.cells"]
    names += ["experiments.api", "experiments.testing", "experiments.testing.check"]
    assert hooks.grouped(names) == [
        ("transformer", [("transformer", "transformer"), ("axes", "transformer.axes")]),
        ("ops", [("ops", "transformer.ops"), ("masks", "transformer.ops.masks")]),
        (
            "nn",
            [
                ("nn", "transformer.nn"),
                ("recurrent", "transformer.nn.recurrent"),
                ("recurrent.cells", "transformer.nn.recurrent.cells"),
            ],
        ),
        ("experiments", [("api", "experiments.api")]),
        ("experiments.testing", [("testing", "experiments.testing"), ("check", "experiments.testing.check")]),
    ]
    assert sum(len(own) for _, own in hooks.grouped(hooks.modules())) == len(list(hooks.modules()))


def test_a_module_of_settings_links_to_their_meanings():
    assert "(../settings.md)" in hooks.reference_page("transformer.models.config")
    assert hooks.reference_page("transformer.ops.masks") == "::: transformer.ops.masks\n"


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "tutorials").glob("*.py")), ids=lambda path: path.stem)
def test_the_figure_of_a_tutorial_stands_below_its_last_code(path):
    page = hooks.tutorial(path)
    _, below = page.rsplit("```python", 1)
    picture = f"]({path.stem}.png)"
    assert page.count(picture) == 1
    assert re.match(r"[^`]*\n```\n\n!\[[^]]*" + re.escape(picture), below)


def test_the_chinese_page_has_its_language():
    def language(name):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=name))
        return re.search(
            r"<article[^>]*>", hooks.on_post_page('<html lang="en"><article class="x">', page, None)
        ).group()

    assert 'lang="zh-Hans"' in language("studies.zh.md")
    assert "lang" not in language("studies.md")


def test_search_needs_nothing_from_elsewhere():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "  - offline" in config
    (script,) = re.findall(r"polyfills: \[(.*)\]", config)
    assert "iframe-worker" in script  # the plugin adds one from elsewhere unless a name has this
    assert (ROOT / "docs" / script).exists()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package with an example, a nested example and settings, and load it as the site does."""
    (tmp_path / "own").mkdir()
    code = '"""Package.\n\n>>> 1 + 1\n2\n"""\nimport dataclasses\nfrom transformer.schema import setting\n'
    code += "@dataclasses.dataclass\nclass Some:\n    '''Some.\n\n    >>> Some()\n    '''\n"
    code += "    width: int = setting(128, 'width', check=None)\n    depth: int = 3\n"
    (tmp_path / "own" / "__init__.py").write_text(code)
    extensions = griffe.load_extensions(docstrings.Docstrings)
    return griffe.load("own", search_paths=[str(tmp_path)], extensions=extensions)


def test_examples_are_code_in_the_top_package_too(package):
    assert "```python\n>>> 1 + 1\n2\n```" in package.docstring.value
    assert package.docstring.value.count("```python") == 1
    assert "```python\n>>> Some()\n```" in package["Some"].docstring.value


def test_the_signature_of_a_schema_has_defaults_alone(package):
    defaults = {parameter.name: str(parameter.default) for parameter in package["Some"].parameters}
    assert defaults["width"] == "128"
    assert defaults["depth"] == "3"


@pytest.mark.parametrize(
    ("link", "folder", "page"),
    [
        ("../../examples/score.py", "guides", "../examples/score.md"),
        ("tutorials/attention.py", ".", "tutorials/attention.md"),
        ("../../STUDIES.md", "guides", "../studies.md"),
        ("../BENCHMARKS.md", ".", "benchmarks.md"),
        ("../../experiments/settings.py", "guides", "../settings.md"),
        ("sites.md", "guides", "sites.md"),
        ("https://a.b/c.py", "guides", "https://a.b/c.py"),
    ],
)
def test_a_link_to_a_file_of_the_checkout_is_one_to_its_page_within_the_site(link, folder, page):
    assert hooks.site_link(link, Path(folder)) == page
