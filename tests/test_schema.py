"""Schemas: what is right passes unchanged, what is wrong is named in full."""

import dataclasses
import math
import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.commands import error_of
from transformer import schema
from transformer.errors import UserError, look_up, nearest, problem, unknown
from transformer.named_code import import_code, named_code
from transformer.schema import above, at_least, fraction, setting
from transformer.tables import Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class Kind(Row):
    function: Callable[..., float] = math.sqrt


KINDS = Table("kind of the tests", Kind, {"plain": Kind(), "fast": Kind(math.exp)}, make=Kind)


@dataclasses.dataclass(frozen=True)
class Inner:
    scale: float = setting(0.5, "how large", check=above(0.0))
    words: tuple[str, ...] = setting(("red", "blue"), "colours", allowed=("red", "blue", "green"))


@dataclasses.dataclass(frozen=True)
class Outer:
    width: int = setting(8, "how wide", check=at_least(1))
    rate: float | None = setting(None, "how often", check=fraction)
    bias: bool = setting(True, "with a bias")
    kind: str = setting("plain", "which", table=KINDS)
    sizes: tuple[int, ...] = setting((3, 5), "several")
    shifts: tuple[float, ...] = setting((), "several more")
    windows: int | tuple[int | None, ...] | None = setting(None, "one or several", check=at_least(1))
    inner: Inner = setting(Inner, "what is inside")


LEAVES = schema.settings(Outer)

VALUES = {
    "width": st.integers(1, 2**31 - 1),
    "rate": st.none() | st.floats(0, 0.999999),
    "bias": st.booleans(),
    "kind": st.sampled_from(["plain", "fast", "math:sin"]),
    "sizes": st.lists(st.integers()).map(tuple),
    "shifts": st.lists(st.floats(allow_nan=False)).map(tuple),
    "windows": st.none() | st.integers(1, 99) | st.lists(st.none() | st.integers(1, 99), min_size=2).map(tuple),
    "inner.scale": st.floats(0, 1e6, exclude_min=True),
    "inner.words": st.lists(st.sampled_from(["red", "blue", "green"])).map(tuple),
}


def dict_error(values: dict, name: str = "model") -> str:
    return error_of(schema.from_dict, Outer, values, name)


def parse_error(name: str, text: str) -> str:
    return error_of(schema.parse, text, LEAVES[name])


def test_leaves_are_named_in_full_and_in_order():
    assert list(LEAVES) == list(VALUES)
    assert LEAVES["inner.scale"].meaning == "how large"
    assert schema.sections(Outer) == {"inner": Inner}


@given(st.data())
def test_what_show_writes_parse_reads(data):
    for name, values in VALUES.items():
        value = data.draw(values)
        assert schema.parse(schema.show(value), LEAVES[name]) == value


@given(st.data())
def test_a_dict_of_an_instance_gives_the_instance_back(data):
    drawn = {name: data.draw(values) for name, values in VALUES.items()}
    inner = Inner(**{name.removeprefix("inner."): drawn.pop(name) for name in list(drawn) if "." in name})
    instance = Outer(**drawn, inner=inner)
    assert schema.from_dict(Outer, schema.to_dict(instance)) == instance


def test_what_is_absent_takes_its_default():
    assert schema.from_dict(Outer, {"inner": {"scale": 2.0}}) == Outer(inner=Inner(scale=2.0))


def test_an_instance_stands_for_a_dict_of_a_section():
    assert schema.from_dict(Outer, {"inner": Inner(scale=3.0)}).inner.scale == 3.0


def test_an_int_stands_for_a_float_and_a_list_for_a_tuple():
    made = schema.from_dict(Outer, {"inner": {"scale": 2}, "shifts": [1, 2.5]})
    assert (made.inner.scale, made.shifts) == (2.0, (1.0, 2.5))
    assert type(made.inner.scale) is float
    assert type(made.shifts[0]) is float


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"width": "8"}, ["model.width", "'8' (str)", "int"]),
        ({"width": 8.5}, ["model.width", "8.5 (float)", "int"]),
        ({"width": True}, ["model.width", "True (bool)"]),
        ({"width": None}, ["model.width", "None"]),
        ({"rate": "0.1"}, ["model.rate", "float", "or none"]),
        ({"rate": True}, ["model.rate", "True (bool)"]),
        ({"bias": 1}, ["model.bias", "1 (int)", "true or false"]),
        ({"sizes": 3}, ["model.sizes", "3 (int)", "separated by commas"]),
        ({"sizes": [3, 1.5]}, ["model.sizes", "(3, 1.5)"]),
        ({"sizes": [3, True]}, ["model.sizes", "(3, True)"]),
        ({"sizes": "35"}, ["model.sizes", "'35' (str)"]),
        ({"inner": {"words": "red"}}, ["model.inner.words", "'red' (str)"]),
        ({"width": 0}, ["model.width", "0", "from 1 to 2^31 - 1"]),
        ({"rate": 1.0}, ["model.rate", "1.0", "from 0 to 0.999999"]),
        ({"rate": math.nan}, ["model.rate", "nan"]),
        ({"inner": {"scale": math.inf}}, ["model.inner.scale", "inf"]),
        ({"inner": {"scale": 0.0}}, ["model.inner.scale", "above 0"]),
        ({"kind": "palin"}, ["model.kind", "'palin'", "fast, plain", "Did you mean 'plain'?"]),
        ({"kind": "no such package:slow"}, ["model.kind 'no such package:slow' cannot be imported"]),
        ({"inner": {"words": ["red", "my_lab:blue"]}}, ["unknown value of model.inner.words", "'my_lab:blue'"]),
        ({"inner": {"words": ["red", "bleu"]}}, ["model.inner.words", "'bleu'", "Did you mean 'blue'?"]),
        ({"widht": 8}, ["unknown setting of model", "'widht'", "bias", "inner", "Did you mean 'width'?"]),
        ({"inner": {"scael": 8}}, ["unknown setting of model.inner", "'scael'", "Did you mean 'scale'?"]),
        ({"inner": 3}, ["model.inner is a section", "3"]),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_setting_the_value_and_what_is_allowed(values, parts):
    line = dict_error(values)
    assert "\n" not in line
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("width", "1e5", 100_000),
        ("width", "12", 12),
        ("rate", "none", None),
        ("rate", "None", None),
        ("rate", "1e-3", 0.001),
        ("rate", "0", 0.0),
        ("bias", "True", True),
        ("bias", "0", False),
        ("kind", "none", "none"),
        ("sizes", " 3, 5,7", (3, 5, 7)),
        ("sizes", "", ()),
        ("inner.words", "red,blue", ("red", "blue")),
    ],
)
def test_texts_people_type_are_read_as_meant(name, text, value):
    parsed = schema.parse(text, LEAVES[name])
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("width", "wide", "int"),
        ("width", "1.5", "int"),
        ("width", "1.5e0", "int"),
        ("width", "1e999", "int"),
        ("width", "none", "int"),
        ("width", "", "int"),
        ("rate", "often", "float (a number), or none"),
        ("bias", "maybe", "true or false"),
        ("sizes", "3;5", "int (a whole number), separated by commas"),
    ],
)
def test_a_text_of_another_type_is_an_error_that_says_the_type(name, text, expected):
    line = parse_error(name, text)
    assert name in line
    assert repr(text) in line
    assert expected in line


def test_numbers_too_large_for_a_float_are_still_whole_numbers():
    assert schema.from_dict(Outer, {"sizes": [10**400]}).sizes == (10**400,)


def test_a_check_of_the_users_own_says_what_it_expected():
    even = dataclasses.make_dataclass(
        "Even", [("n", int, setting(2, "even", check=lambda n: "an even number" if n % 2 else None))]
    )
    assert schema.from_dict(even, {"n": 4}).n == 4
    with pytest.raises(UserError, match=r"m\.n is out of range; got 3; expected an even number"):
        schema.from_dict(even, {"n": 3}, "m")


def test_a_text_that_is_no_unicode_is_refused_unless_it_names_a_file():
    fields = [("t", str, setting("", "text")), ("l", tuple[str, ...], setting((), "texts"))]
    kind = dataclasses.make_dataclass("Texts", fields)
    for wrong in ("\ud800\udc00", "a\udfff", "\udc7f"):
        for values in ({"t": wrong}, {"l": ["a", wrong]}):
            with pytest.raises(UserError, match=r"m\.. is no text of Unicode; got '.*\\ud.*'; expected characters; "):
                schema.from_dict(kind, values, "m")
    name = os.fsdecode(b"caf\xe9")
    assert schema.from_dict(kind, {"t": name, "l": ["é🙂"]}).t == name


def test_nested_names_are_joined_by_dots():
    assert schema.flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("num_layer", "num_layers"),
        ("layers", "num_layers"),
        ("num-layers", "num_layers"),
        ("NUM_LAYERS", "num_layers"),
        ("RoPE", "rope"),
        ("K-V-H-W", "k_v_h_w"),
        ("zzz", None),
        ("", None),
    ],
)
def test_the_nearest_name_forgives_case_dashes_and_missing_parts(typed, meant):
    assert nearest(typed, ["width", "num_layers", "rope", "k_v_h_w"]) == meant


def test_an_error_is_one_line_with_the_parts_that_were_given():
    assert str(problem("no", got=3, expected="4", do="Try 4.")) == "no; got 3; expected 4. Try 4."
    assert str(problem("no")) == "no"
    assert str(unknown("norm", "lyaer", ["rms", "layer"])) == (
        "unknown norm; got 'lyaer'; expected one of layer, rms. Did you mean 'layer'?"
    )


def test_a_row_is_found_by_name_or_by_dotted_path_and_nothing_else():
    assert look_up("function", {"cos": math.cos}, "cos") is math.cos
    assert look_up("function", {}, "math:sin") is math.sin
    for name, said in [
        ("sni", "Did you mean 'sin'?"),
        ("math:sni", "has no attribute 'sni'"),
        ("no_such_package:sin", "No module named 'no_such_package'"),
        (":sin", "cannot be imported"),
    ]:
        with pytest.raises(UserError) as caught:
            look_up("function", {"sin": math.sin}, name)
        assert said in str(caught.value)
        assert name in str(caught.value)


def test_a_setting_may_be_one_value_or_several_of_which_some_are_absent():
    leaf = LEAVES["windows"]
    parsed = [schema.parse(text, leaf) for text in ("7", "none", "7,none", "3, 4,", "3,")]
    assert parsed == [7, None, (7, None), (3, 4), (3,)]
    assert leaf.type_name == "int or int,... or none"
    assert schema.from_dict(Outer, {"windows": [2, None]}).windows == (2, None)
    assert "windows has the wrong type; got '3,x'; expected int" in parse_error("windows", "3,x")
    assert "model.windows is out of range; got 0" in dict_error({"windows": [2, 0]})
    assert "model.windows has the wrong type; got True" in dict_error({"windows": [True]})
    assert not LEAVES["sizes"].listed
    assert not LEAVES["rate"].listed


def test_code_that_a_setting_names_is_listed_and_imported_when_asked_for_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted_by_others.py").write_text("raise RuntimeError('it ran')\n")
    values = {"kind": "planted_by_others:slow"}
    assert named_code(Outer, values, "model") == {"model.kind": "planted_by_others:slow"}
    assert named_code(Outer, {"kind": "fast"}) == {}
    assert schema.from_dict(Outer, values, "model", import_code=False).kind == "planted_by_others:slow"
    with pytest.raises(UserError, match=r"^model\.kind 'planted_by_others:slow' cannot be imported: .*it ran"):
        schema.from_dict(Outer, values, "model")
    import_code(schema.from_dict(Outer, {"kind": "math:cos"}))
