"""The openings of docstrings and settings' meanings: an imperative verb for functions, a noun for classes and settings.

A first word is judged by lists, since English has no grammar that a program reads: what cannot open a sentence about a
function, what cannot open a noun phrase, and the verbs in the third person that look like plurals.
"""

import ast
import functools
import itertools
from pathlib import Path

from experiments.settings import Config
from transformer import schema

ROOT = Path(__file__).resolve().parent.parent
NO_NOUN = {"of", "those", "what", "that", "as", "how", "whether", "where", "who", "whose", "which", "when", "why", "if"}
"""Words that open neither a sentence nor a noun phrase which a reader understands by itself."""
NO_VERB = """
    the a an this these it its each every all any some one two no not in on for from at by with without to such same see
    and or both several none true false after before here there
"""
NOT_A_VERB = NO_NOUN | {*NO_VERB.split()}
"""Words that do not open an imperative sentence."""
ENDS_IN_S = {"pass", "process", "press", "express", "compress", "address", "access", "discuss", "focus"}
"""Imperatives that end in s, though they are not verbs in the third person."""


def docstrings(*folders):
    """List (place, kind, docstring) of every module, function, property, class and constant of the folders."""
    return [found for folder in folders for found in docstrings_of(folder)]


@functools.cache
def docstrings_of(folder):
    """List those of one folder, which is read once."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in statements(ast.parse(path.read_text())):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                found.append((place, kind_of(node), ast.get_docstring(node)))
            for before, after in itertools.pairwise(getattr(node, "body", ())):
                if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                    found.append((place, "constant", getattr(after.value, "value", None)))
    return found


def statements(node):
    """Yield a module or a statement and all statements inside of it; expressions have no docstrings."""
    yield node
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for inner in getattr(node, field, ()):
            yield from statements(inner)


def kind_of(node):
    """Return "property" for a function that is called without arguments, else the node's own kind."""
    decorators = {ast.unparse(own).split("(")[0].split(".")[-1] for own in getattr(node, "decorator_list", ())}
    return "property" if decorators & {"property", "cached_property"} else type(node).__name__


def first_word(text):
    """Return the first word of a text in small letters, without its punctuation."""
    return text.split()[0].strip(".,:;()`'\"").lower() if text.split() else ""


def is_imperative(word):
    """Check that a word may open a sentence about a function."""
    return word.isalpha() and word not in NOT_A_VERB and (not word.endswith("s") or word in ENDS_IN_S)


def opening(found, is_right):
    """List the places whose text opens with a word that is not right, with their first lines."""
    return [
        f"{place}: {text.splitlines()[0]}"
        for place, text in found
        if isinstance(text, str) and text and not is_right(first_word(text))
    ]


def test_a_functions_docstring_opens_with_an_imperative():
    found = ((place, text) for place, kind, text in docstrings("transformer", "experiments") if kind == "FunctionDef")
    assert not opening(found, is_imperative)


def test_a_docstring_opens_with_a_noun_or_a_verb():
    found = ((place, text) for place, _, text in docstrings("transformer", "experiments", "configs", "tests"))
    assert not opening(found, lambda word: word not in NO_NOUN)


def test_a_settings_meaning_opens_with_a_noun():
    found = ((leaf.name, leaf.meaning) for leaf in schema.settings(Config).values())
    assert not opening(found, lambda word: word not in NO_NOUN)
