import ast
import operator
import types
import typing
from pathlib import Path

import pytest

from transformer.models.config import ModelConfig, model_config
from transformer.nn import settings
from transformer.nn.parameter_axes import sizes
from transformer.nn.settings import ModelSettings

SECTIONS = {"embedding", "class_head", "token_head", "attention", "relative", "recurrent"}


def members(protocol, prefix=""):
    """The leaves of a protocol and of its sections: name -> type."""
    found = {}
    for name, own in vars(protocol).items():
        if isinstance(own, property):
            kind = typing.get_type_hints(own.fget)["return"]
            found.update(members(kind, f"{name}.") if name in SECTIONS else {f"{prefix}{name}": kind})
    return found


def type_in(schema, name):
    """The type of a field or a property, by its name within a schema."""
    for part in name.split("."):
        own = getattr(schema, part, None)
        hints = typing.get_type_hints(own.fget if isinstance(own, property) else schema)
        schema = hints["return" if isinstance(own, property) else part]
    return schema


def test_a_model_config_has_every_setting_that_modules_read_with_its_type_or_none_before_it_is_resolved():
    assert isinstance(model_config({"vocab_size": 5}), ModelSettings)
    found = members(ModelSettings)
    assert len(found) > 35
    given = {name: type_in(ModelConfig, name) for name in found}
    assert not {name: kind for name, kind in found.items() if given[name] not in (kind, kind | None)}


def test_resolving_fills_in_what_the_protocol_declares_without_none():
    values = {"architecture": "encoder_only", "vocab_size": 5, "position": "relative", "class_head": {"classes": 3}}
    both = {**values, "architecture": "seq2seq"}
    filled = {name for name, kind in members(ModelSettings).items() if kind != type_in(ModelConfig, name)}
    assert filled >= {"num_kv_heads", "head_width", "feed_forward_width", "relative.max_distance", "class_head.reads"}
    of_tokens = {**values, "class_head": {}}
    configs = [model_config(given) for given in (values, both, of_tokens)]
    assert not [name for name in filled if all(operator.attrgetter(name)(config) is None for config in configs)]


def test_modules_read_no_setting_that_the_protocol_lacks():
    known = SECTIONS | {name.rpartition(".")[2] for name in members(ModelSettings)}
    read = {}
    for path in sorted(Path(settings.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                owner = getattr(node.value, "attr", getattr(node.value, "id", None))
                if owner == "config":
                    read.setdefault(node.attr, f"{path.name}:{node.lineno}")
    assert len(read) > 20
    assert not {name: place for name, place in read.items() if name not in known}


@pytest.mark.parametrize("bad", [None, 3, types.SimpleNamespace(width=4)])
def test_annotations_with_the_protocol_are_checked_in_tests(bad):
    with pytest.raises(Exception, match=r"parameter '?config"):
        sizes(bad)
