"""Texts to continue and to fill: what a prompt is, and where its answer stands."""

import numpy as np
import pytest

from experiments.data.tokenizers.table import Characters
from experiments.tasks import filling
from tests.fixtures.windows import (
    ALPHABET,
    BEGIN,
    CONTEXT,
    END,
    MASK,
    every_objective,
    task_of,
)
from transformer.errors import UserError

TOKENIZER = Characters(ALPHABET)


def ids(text):
    return TOKENIZER.encode(text).tolist()


def test_gaps_are_read_one_after_another():
    assert filling.read("ab<mask>c<mask>", TOKENIZER, [91, 92, 93], ends=True).tolist() == [
        *ids("ab"),
        91,
        *ids("c"),
        92,
        END,
    ]
    assert filling.read("<mask>", TOKENIZER, [91], ends=False).tolist() == [91]
    with pytest.raises(UserError, match=r"no gap to fill; got 'abc'; expected <mask>"):
        filling.read("abc", TOKENIZER, [91], ends=True)
    with pytest.raises(UserError, match=r"expected <mask> in each place to guess. Did you mean <mask>\?"):
        filling.read("a<MASK>c", TOKENIZER, [91], ends=True)
    with pytest.raises(UserError, match=r"too many gaps; got 2; expected at most 1"):
        filling.read("<mask>a<mask>", TOKENIZER, [91], ends=True)


def test_masks_are_filled_in_their_places_alone():
    tokens = filling.read("a<mask>c<mask>", TOKENIZER, [MASK, MASK], ends=False)
    assert filling.fill_masks("a<mask>c<mask>", np.array([*ids("nmlk"), 0, 0]), TOKENIZER, tokens) == "amck"


def test_spans_are_filled_where_their_sentinels_stand_whatever_their_order():
    predicted = np.array([*ids("n"), 92, *ids("ij"), 91, *ids("k")])
    assert filling.fill_spans("a<mask>c<mask>e<mask>", predicted, TOKENIZER, 91) == "akcije"


def test_a_causal_prompt_starts_with_begin_and_its_answer_stops_at_the_end():
    for objective in ("causal", "prefix"):
        task = task_of(objective)
        batch = next(task.prompts(["abc", "n"]))
        assert batch["target"][:, :5].tolist() == [[BEGIN, *ids("abc"), 0], [BEGIN, *ids("n"), 0, 0, 0]]
        assert batch["target_lengths"].tolist() == [4, 2]
        assert batch.get("prefix_lengths", np.array([4, 2])).tolist() == [4, 2]
        assert ("prefix_lengths" in batch) == (objective == "prefix")
        assert task.answer("abc", np.array([*ids("de"), END, *ids("f")])) == "abcde"


def test_a_text_with_gaps_is_asked_and_answered_whole():
    task = task_of("masked")
    batch = next(task.prompts(["a<mask>c"]))
    assert batch["source"].tolist() == [[*ids("a"), MASK, *ids("c"), *[0] * 9]]
    assert batch["source_lengths"].tolist() == [3]
    assert batch["prefix_lengths"].tolist() == [0]
    assert task.answer("a<mask>c", np.array(ids("kbk"))) == "abc"
    task = task_of("span")
    batch = next(task.prompts(["a<mask>c"]))
    first = task.tokenizers.size
    assert batch["source"][0, :4].tolist() == [*ids("a"), first, *ids("c"), END]
    assert batch["target"].tolist() == [[BEGIN]]
    assert task.answer("a<mask>c", np.array([first, *ids("bb"), END, 0])) == "abbc"
    with pytest.raises(UserError, match=rf"got {task.extra_tokens + 1}; expected at most {task.extra_tokens}"):
        task.read(["<mask>a" * (task.extra_tokens + 1)])


def test_a_text_longer_than_what_is_guessed_is_a_user_error():
    task = task_of("masked")
    with pytest.raises(UserError, match=r"got 13 tokens; expected at most 12"):
        next(task.prompts(["<mask>" + "a" * CONTEXT]))
    next(task.prompts(["<mask>" + "a" * 4], steps=5))
    with pytest.raises(UserError, match=r"got 6 tokens; expected at most 5"):
        next(task.prompts(["<mask>" + "a" * 5], steps=5))


@every_objective
def test_prompts_up_to_half_a_window_have_one_shape(objective):
    task = task_of(objective)
    gap = "" if objective in ("causal", "prefix") else "<mask>"
    shapes = [{k: v.shape for k, v in next(task.prompts([text])).items()} for text in ("a" + gap, "abcd" + gap)]
    assert shapes[0] == shapes[1]
    for tokens in task.read(["abcd" + gap]):
        assert task.sequence_length(tokens, task.max_answer_length) <= max(
            task.max_sequence_length(), task.max_answer_length
        )


@every_objective
def test_a_view_has_tokens_for_its_rows_and_columns(objective):
    task = task_of(objective)
    text = "abc" if objective in ("causal", "prefix") else "a<mask>c"
    answer = np.array([task.tokenizers.size, *ids("b"), END]) if objective == "span" else np.array(ids("kbk"))
    view = task.attention_view(text, answer)
    sides = {name: len(value) for name, value in view.batch.items() if name in ("source", "target")}
    queries = "target" if "decoder" in view.activation else "source"
    assert len(range(sides[queries])[view.rows]) == len(view.queries)
    assert view.batch.get("prefix_lengths") == (len(view.keys) if objective == "prefix" else None)
    assert len(range(sides["source" if objective in ("masked", "span") else "target"])[view.columns]) == len(view.keys)
