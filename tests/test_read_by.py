"""A setting is read if all of its conditions hold; the first that fails gives the error."""

import dataclasses

import pytest

from transformer import schema
from transformer.errors import UserError
from transformer.read_by import Condition, refuse_unread, unless, unread, when
from transformer.schema import setting

WIDE = Condition(
    ("body.kind", "body.width"),
    holds=lambda kind, width: width > 5,
    who=lambda kind, width: f"a {kind} body of width {width}",
    expected="body.width above 5",
    do="Give one of them.",
)


@dataclasses.dataclass(frozen=True)
class Tail:
    length: int = setting(3, "length", read_by=WIDE)
    colour: str | None = setting(None, "colour", read_by=when("animal", "cat"))


@dataclasses.dataclass(frozen=True)
class Body:
    kind: str = setting("plain", "kind")
    width: int = setting(7, "width", read_by=when("animal", "cat", "dog"))
    tail: Tail = setting(Tail, "tail", read_by=when("body.kind", "plain", choice="kind", do="Leave it out."))


@dataclasses.dataclass(frozen=True)
class Whole:
    animal: str = setting("cat", "animal")
    body: Body = setting(Body, "body", read_by=when("animal", "cat", "dog", "fish").of("tail"))


def errors(instance, name="") -> dict[str, str]:
    return {leaf: str(found.error(None)) for leaf, found in unread(instance, name).items()}


def test_a_setting_without_conditions_and_one_whose_conditions_hold_are_read():
    assert errors(Whole()) == {}
    assert "animal" not in errors(Whole(animal="bird"))


def test_the_error_names_who_does_not_read_it_the_readers_and_what_to_do():
    assert errors(Whole(animal="fish", body=Body(kind="plain")))["body.width"] == (
        "body.width is not read by animal 'fish'; got None; expected it only with cat, dog."
        " Leave it out, or set animal=cat or dog."
    )
    narrow = unread(Whole(body=Body(width=4)))["body.tail.length"]
    assert str(narrow.error(got=3)) == (
        "body.tail.length is not read by a plain body of width 4; got 3; expected it only with body.width above 5."
        " Give one of them."
    )


def test_a_sections_condition_holds_for_all_its_settings_and_comes_first():
    found = unread(Whole(body=Body(kind="round", width=4)))
    assert {name: leaf.who for name, leaf in found.items()} == dict.fromkeys(
        ("body.tail.length", "body.tail.colour"), "kind 'round'"
    )


def test_a_condition_of_a_part_is_that_parts_alone_and_comes_before_its_own():
    found = unread(Whole(animal="bird"))
    assert set(found) == {"body.width", "body.tail.length", "body.tail.colour"}
    assert found["body.tail.colour"].expected == "cat, dog, fish"
    assert found["body.width"].expected == "cat, dog"


def test_a_setting_that_is_not_read_itself_decides_nothing():
    narrow = Body(width=4)
    assert "body.tail.length" in unread(Whole(body=narrow))
    assert "body.tail.length" not in unread(Whole(animal="fish", body=narrow))


def test_a_section_alone_is_judged_by_its_own_settings():
    assert errors(Body(width=4), "body").keys() == {"body.tail.length"}
    assert errors(Tail(), "body.tail") == {}


def test_only_a_given_setting_whose_default_is_none_is_refused():
    refuse_unread(Whole(animal="dog"), "")
    refuse_unread(Whole(body=Body(width=4)), "")
    with pytest.raises(UserError, match=r"body\.tail\.colour is not read by animal 'dog'; got 'red'; expected it only"):
        refuse_unread(Whole(animal="dog", body=Body(tail=Tail(colour="red"))), "")


def test_the_schema_keeps_the_conditions_of_a_leaf():
    assert schema.settings(Whole)["body.tail.length"].read_by == (WIDE,)
    assert schema.settings(Whole)["animal"].read_by == ()


@dataclasses.dataclass(frozen=True)
class Legs:
    count: int = setting(4, "legs", read_by=unless("front", "back", quiet=True))
    front: int | None = setting(None, "front legs")
    back: int | None = setting(None, "back legs", read_by=when("front", None, 1, 2))


def test_a_setting_is_unread_once_all_are_set_that_are_read_in_its_place():
    assert errors(Legs()) == errors(Legs(front=1)) == errors(Legs(back=1)) == {}
    found = unread(Legs(front=1, back=2))["count"]
    assert found.quiet
    assert str(found.error(4)) == (
        "count is not read by a config with front 1 and back 2; got 4;"
        " expected it only with one of front and back set to none. Leave it out, or set front=none."
    )
    assert errors(Legs(front=3, back=2)).keys() == {"back"}  # which decides nothing then
