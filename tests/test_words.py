"""How docstrings and settings' meanings begin: functions with an imperative verb, classes and settings with a noun.

A first word is judged by lists, since English has no grammar that a program reads: what cannot open a sentence about a
function, what cannot open a noun phrase, and the verbs in the third person that look like plurals.
"""

import ast
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


def docstrings():
    """(place, kind, docstring) of every definition of the library and the experiments: function, property or class."""
    for folder in ("transformer", "experiments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                    continue
                text = ast.get_docstring(node)
                if text:
                    names = {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list}
                    named = names & {"property", "cached_property"}
                    kind = "class" if isinstance(node, ast.ClassDef) else "property" if named else "function"
                    yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", kind, text


def first_word(text):
    """The first word of a text in small letters, without its punctuation."""
    return text.split()[0].strip(".,:;()`'\"").lower() if text.split() else ""


def test_a_functions_docstring_opens_with_an_imperative():
    wrong = [
        f"{place}: {text.splitlines()[0]}"
        for place, kind, text in docstrings()
        if kind == "function"
        and (
            first_word(text) in NOT_A_VERB
            or (first_word(text).endswith("s") and first_word(text) not in ENDS_IN_S)
            or not first_word(text).isalpha()
        )
    ]
    assert not wrong, f"{len(wrong)} docstrings:\n" + "\n".join(wrong)


def test_a_classs_or_propertys_docstring_opens_with_a_noun():
    wrong = [
        f"{place}: {text.splitlines()[0]}"
        for place, kind, text in docstrings()
        if kind != "function" and first_word(text) in NO_NOUN
    ]
    assert not wrong, f"{len(wrong)} docstrings:\n" + "\n".join(wrong)


def test_a_modules_docstring_opens_with_a_noun_or_a_verb():
    wrong = []
    for folder in ("transformer", "experiments", "configs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = ast.get_docstring(ast.parse(path.read_text()))
            if text and first_word(text) in NO_NOUN:
                wrong.append(f"{path.relative_to(ROOT)}: {text.splitlines()[0]}")
    assert not wrong, f"{len(wrong)} docstrings:\n" + "\n".join(wrong)


def test_a_constants_docstring_opens_with_a_noun():
    wrong = []
    for folder in ("transformer", "experiments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                body = getattr(node, "body", [])
                pairs = itertools.pairwise(body) if isinstance(body, list) else ()
                for before, after in pairs:
                    if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                        text = getattr(after.value, "value", None)
                        if isinstance(text, str) and first_word(text) in NO_NOUN:
                            wrong.append(f"{path.relative_to(ROOT)}:{after.lineno}: {text.splitlines()[0]}")
    assert not wrong, f"{len(wrong)} docstrings:\n" + "\n".join(wrong)


def test_a_settings_meaning_opens_with_a_noun():
    wrong = [
        f"{leaf.name}: {leaf.meaning}"
        for leaf in schema.settings(Config).values()
        if first_word(leaf.meaning) in NO_NOUN
    ]
    assert not wrong, f"{len(wrong)} meanings:\n" + "\n".join(wrong)
