"""Claims about the reader of stored JSON: what is accepted is of the shape asked for, the rest is one line."""

import os

import pytest

from experiments.data.stored_json import DEEPEST, Checked, Fields, misfit, parse_json, read_json, whole
from transformer.errors import UserError
from transformer.schema import at_least

SHAPE = Fields(
    {"name": str, "sizes": [whole(0, 9)]},
    {"rate": Checked(float, at_least(0)), "git": (dict, None)},
    others=(int, Fields({"on": bool})),
)


@pytest.mark.parametrize(
    "more",
    [{}, {"rate": 3}, {"rate": 0.5}, {"git": None}, {"git": {"a": []}}, {"other": 5}, {"other": {"on": True}}],
)
def test_a_value_of_the_shape_has_no_misfit(more):
    assert misfit({"name": "é", "sizes": [1, 9], **more}, SHAPE) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "it is a list, expected an object"),
        ({"sizes": []}, "it has no 'name'"),
        ({"name": 3, "sizes": []}, "name is 3 (a whole number), expected a text"),
        ({"name": "a", "sizes": {}}, "sizes is an object, expected a list"),
        ({"name": "a", "sizes": [1, 10]}, "sizes[1] is 10 (a whole number), expected a whole number from 0 to 9"),
        ({"name": "a", "sizes": [True]}, "sizes[0] is True (true or false), expected a whole number"),
        ({"name": "a", "sizes": [], "rate": -1.5}, "rate is -1.5 (a number), expected a number from 0 to 2^31 - 1"),
        ({"name": "a", "sizes": [], "git": "x"}, "git is 'x' (a text), expected an object or null"),
        ({"name": "a", "sizes": [], "x": {"on": 1}}, "x is an object, expected a whole number or an object"),
    ],
)
def test_a_misfit_names_its_place_what_is_there_and_what_is_expected(value, why):
    assert misfit(value, SHAPE) == why


def test_nesting_has_a_depth_and_numbers_a_size():
    assert parse_json("[" * DEEPEST + "]" * DEEPEST, "file")
    assert parse_json(f"[{2**63 - 1}, {-(2**63)}]", "file")
    for text in (
        "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2),
        "[" * 100_000,
        f"[{2**63}]",
        "9" * 5000,
        "-Infinity",
        "1e999",
    ):
        with pytest.raises(UserError, match="file cannot be read: "):
            parse_json(text, "file")


def test_half_a_surrogate_pair_is_read_where_names_of_files_are_kept_alone(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"path": "caf\\udce9"}')
    assert read_json(path, dict, surrogates=True)["path"] == os.fsdecode(b"caf\xe9")
    with pytest.raises(UserError, match="half of a surrogate pair"):
        read_json(path, dict)


def test_what_is_no_regular_file_of_utf8_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "file.json"
    reasons = {
        "No such file": lambda: None,
        "it is a folder": path.mkdir,
        "it is no regular file": lambda: os.mkfifo(path),
    }
    for reason, make in reasons.items():
        make()
        with pytest.raises(UserError, match=rf"file\.json cannot be read: {reason}.*\. Restore it\."):
            read_json(path, do="Restore it.")
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    path.write_bytes(b"[\xff]")
    with pytest.raises(UserError, match="it is not UTF-8: byte 0xff at byte 1"):
        read_json(path)
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path, [int]) == [1]
