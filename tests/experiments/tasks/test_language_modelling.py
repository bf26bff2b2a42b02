import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.examples import Document, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import Characters
from experiments.data.tokenizers.tokens import FIRST, SpecialTokens
from experiments.settings import Config, defaults, resolve
from experiments.tasks import filling
from experiments.tasks.build import build_task
from experiments.tasks.config import ARCHITECTURES, OBJECTIVES, TaskConfig, objective_of
from experiments.tasks.task import TaskSettings
from experiments.training.early_stopping import EarlyStopping
from experiments.training.experiment import RunData, set_up
from tests.fixtures.tiny import V, tiny
from transformer import ModelConfig
from transformer.errors import UserError
from transformer.ops.losses import cross_entropy
from transformer.read_by import unread

BEGIN, END, MASK = SpecialTokens.begin, SpecialTokens.end, SpecialTokens.mask
ALPHABET = "abcdefghijklmn"
CONTEXT, WINDOWS = 12, 3
OF = {
    "causal": ("decoder_only", {}),
    "prefix": ("decoder_only", {"bidirectional_prefix": True}),
    "masked": ("encoder_only", {"mask_rate": 0.4}),
    "span": ("seq2seq", {"mask_rate": 0.4, "mean_span": 2.0}),
}
every_objective = pytest.mark.parametrize("objective", OF)


def documents(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [Document("".join(rng.choice(list(ALPHABET), length))) for length in lengths]


TRAIN = documents([3, 5, 0, 2, 17, 1, 4, 9, 6, 13])


def task_of(objective, train=TRAIN, validation=(), architecture=None, **settings):
    default, config = OF.get(objective, (None, {"objective": objective}))
    given = {name: settings.pop(name) for name in ("limit", "batch_size", "seed", "batch_tokens") if name in settings}
    config = {"context": CONTEXT, **config, **settings}
    splits = Splits(list(train), list(validation or train), [])
    task_settings = TaskSettings(
        TaskConfig("language_modelling", **config), architecture or default, **{"batch_size": WINDOWS, **given}
    )
    return build_task(task_settings, splits, TokenizerPair.of(Characters(ALPHABET)))


def prepared(task, stream, seed=0):
    """Windows of a stream that are no neighbours, as a batch with a fixed draw; and the positions they are of."""
    rows = stream.rows(np.arange(WINDOWS) * (CONTEXT + 3), CONTEXT)
    return task.make_batch(stream, rows, np.random.default_rng(seed)), rows


def nats(task, batch):
    """Compute the loss of each label (nats), B T."""
    return np.asarray(cross_entropy(jnp.asarray(logits(task, batch)), jnp.asarray(batch["labels"])))


def logits(task, batch):
    model = tiny(task.settings.architecture, position="sinusoidal")
    assert task.vocab_size <= V
    return model({name: value for name, value in batch.items() if name not in ("labels", "loss_weights")})


def with_other_tokens(stream, places, seed=1):
    """The stream with another letter at these places, which the inputs show one place later."""
    places = places & (stream.labels >= FIRST)
    step = np.random.default_rng(seed).integers(1, len(ALPHABET), len(stream))
    other = (stream.labels - FIRST + step) % len(ALPHABET) + FIRST
    labels = np.where(places, other, stream.labels).astype(np.int32)
    inputs = stream.inputs.copy()
    follows = np.flatnonzero(places)
    inputs[follows + 1] = labels[follows]
    return dataclasses.replace(stream, inputs=inputs, labels=labels)


def documents_of_labels(task, batch, stream, rows):
    """The document of each label, B by its places."""
    if task.objective != "span":
        return stream.documents[rows]
    return batch["target_segments"] + stream.documents[rows][:, :1] - 1


def test_causal_labels_are_the_inputs_shifted_within_a_document():
    task = task_of("causal")
    batch, _ = prepared(task, task.stream)
    same = batch["target_segments"][:, 1:] == batch["target_segments"][:, :-1]
    assert (batch["labels"][:, :-1] == batch["target"][:, 1:])[same].all()
    assert (batch["labels"][:, :-1] == END)[~same].all()
    assert (batch["target"][:, 1:] == BEGIN)[~same].all()
    assert batch["loss_weights"].all()
    assert 0 < (~same).sum() < same.sum()


@every_objective
def test_a_documents_loss_does_not_depend_on_other_documents_in_its_window(objective):
    task = task_of(objective)
    before, rows = prepared(task, task.stream)
    whole, numbers = nats(task, before), documents_of_labels(task, before, task.stream, rows)
    moved = 0
    for document in np.unique(numbers):
        stream = with_other_tokens(task.stream, task.stream.documents != document)
        after, _ = prepared(task, stream)
        own = numbers == document
        assert (after["labels"] == before["labels"])[own].all()
        loss = nats(task, after)
        np.testing.assert_allclose(loss[own], whole[own], rtol=1e-5, atol=1e-5)
        moved += (abs(loss - whole)[~own] > 1e-3).sum()
    assert len(np.unique(numbers)) > 3
    assert moved


@every_objective
def test_without_segments_documents_in_a_window_are_seen(objective):
    task = task_of(objective, segments=False)
    before, _ = prepared(task, task.stream)
    assert not any("segments" in name for name in before)
    first = task.stream.documents == 1
    after, _ = prepared(task, with_other_tokens(task.stream, first))
    elsewhere = before["labels"] == after["labels"]
    assert (abs(nats(task, after) - nats(task, before))[elsewhere] > 1e-3).any()


@every_objective
@pytest.mark.parametrize("packed", [True, False])
def test_no_place_that_is_learned_sees_its_label(objective, packed):
    task = task_of(objective, segments=packed)
    before, rows = prepared(task, task.stream)
    whole, checked = logits(task, before), 0
    for place in range(CONTEXT):
        at = np.zeros(len(task.stream), bool)
        at[rows[:, place]] = True
        after, _ = prepared(task, with_other_tokens(task.stream, at))
        now = logits(task, after)
        changed = (after["labels"] != before["labels"]) & (before["loss_weights"] > 0)
        if objective == "masked":  # those that stay as they are, one in ten, are to be seen
            changed &= before["source"] != before["labels"]
            for b, _ in np.argwhere(changed):
                np.testing.assert_array_equal(now[b], whole[b])
        for b, j in np.argwhere(changed):
            np.testing.assert_allclose(now[b, : j + 1], whole[b, : j + 1], rtol=1e-5, atol=1e-5)
        checked += changed.sum()
    assert checked > 5


def test_prefix_places_see_both_ways_and_carry_no_loss():
    task = task_of("prefix", segments=False)
    batch, rows = prepared(task, task.stream)
    for b, length in enumerate(batch["prefix_lengths"]):
        assert 1 <= length < CONTEXT
        assert batch["loss_weights"][b].tolist() == [0.0] * (length - 1) + [1.0] * (CONTEXT - length + 1)
    last = rows[np.arange(WINDOWS), batch["prefix_lengths"] - 2]
    after, _ = prepared(task, with_other_tokens(task.stream, np.isin(np.arange(len(task.stream)), last)))
    long = batch["prefix_lengths"] > 2
    assert long.any()
    assert (abs(logits(task, after) - logits(task, batch))[long, 0].max(axis=-1) > 1e-3).all()


def test_prefix_of_an_evaluation_is_half_the_window_and_of_training_is_drawn():
    task = task_of("prefix", batch_size=2)
    drawn = {int(n) for b in itertools.islice(task.training_batches(), 60) for n in b["prefix_lengths"]}
    assert drawn == set(range(1, CONTEXT))
    (lengths,) = {tuple(b["prefix_lengths"]) for b in task.evaluation_batches(TRAIN, 2)}
    assert lengths == (CONTEXT // 2,) * 2


@given(seed=st.integers(0, 50))
def test_span_targets_start_anew_with_each_document_and_else_follow_their_labels(seed):
    task = task_of("span")
    batch, _ = prepared(task, task.stream, seed)
    fresh = np.diff(batch["target_segments"], axis=1, prepend=0) != 0
    assert (batch["target"] == BEGIN)[fresh].all()
    assert (batch["target"][:, 1:] == batch["labels"][:, :-1])[~fresh[:, 1:]].all()
    assert batch["loss_weights"].all()
    assert batch["source"].shape == (WINDOWS, task.spans.source_length)
    assert batch["labels"].shape == (WINDOWS, task.spans.target_length)
    assert batch["source"].max() < task.vocab_size


@every_objective
def test_batches_from_a_step_are_those_of_the_whole_run(objective):
    task, again = task_of(objective), task_of(objective)
    whole = list(itertools.islice(task.training_batches(), 9))
    for here, there in zip(itertools.islice(again.training_batches(4), 5), whole[4:], strict=True):
        assert set(here) == set(there)
        assert all(np.array_equal(here[name], there[name]) for name in here)
    other = next(task_of(objective, seed=1).training_batches())
    assert any(not np.array_equal(other[name], whole[0][name]) for name in other)


def hides(task, batch):
    return tuple(np.ravel((batch["source"] == MASK) | (batch["source"] >= task.tokenizers.size)).tolist())


@pytest.mark.parametrize("objective", ["masked", "span"])
def test_training_draws_anew_what_is_hidden_when_a_window_comes_again(objective):
    task = task_of(objective, train=documents([CONTEXT + WINDOWS * CONTEXT]))
    assert len({hides(task, batch) for batch in itertools.islice(task.training_batches(), 8)}) == 8


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=6), batch_size=st.integers(1, 5))
def test_causal_evaluation_predicts_every_token_and_every_end_once(lengths, batch_size):
    task, examples = task_of("causal"), documents(lengths)
    batches = list(task.evaluation_batches(examples, batch_size))
    predicted = np.concatenate([b["labels"][b["loss_weights"] > 0] for b in batches])
    expected = [t for d in examples for t in [*task.tokenizers.source.encode(d.text), END]]
    assert predicted.tolist() == expected
    assert sum(b["loss_weights"].sum() for b in batches) == sum(lengths) + len(lengths)
    assert len({b["labels"].shape for b in batches}) == 1
    for batch in batches:
        inside = np.arange(CONTEXT) < batch["target_lengths"][:, None]
        assert (batch["loss_weights"] == inside * batch["example_weights"][:, None]).all()


@every_objective
def test_evaluation_is_the_same_at_every_call_and_in_every_run(objective):
    task, other = task_of(objective, validation=TRAIN), task_of(objective, seed=5, train=TRAIN[3:])
    first, second, third = (list(t.evaluation_batches(TRAIN, 4)) for t in (task, task, other))
    for here, there, elsewhere in zip(first, second, third, strict=True):
        for name in here:
            np.testing.assert_array_equal(here[name], there[name])
            np.testing.assert_array_equal(here[name], elsewhere[name])


@every_objective
def test_how_windows_are_batched_changes_no_evaluation(objective):
    task, text = task_of(objective), documents([7 * CONTEXT + 4])
    found = []
    for size in (1, 3, 8):
        batches = list(task.evaluation_batches(text, size))
        whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        kept = whole["example_weights"] > 0
        found.append({name: value[kept] for name, value in whole.items()})
        assert len(batches[0]["labels"]) == size
    assert len(found[0]["labels"]) == 8
    for other in found[1:]:
        for name in found[0]:
            np.testing.assert_array_equal(other[name], found[0][name])


@pytest.mark.parametrize("objective", ["masked", "span"])
def test_what_evaluation_hides_is_not_what_training_hides(objective):
    text = documents([CONTEXT * 16 - 1])
    task = task_of(objective, train=text, batch_size=4, seed=0)
    evaluated = {hides(task, batch) for batch in task.evaluation_batches(text, 4)}
    assert len(evaluated) == 4
    assert not evaluated & {hides(task, batch) for batch in itertools.islice(task.training_batches(), 20)}


@pytest.mark.parametrize("objective", ["prefix", "masked", "span"])
def test_evaluation_weighs_nothing_behind_the_text(objective):
    task = task_of(objective, mask_rate=0.9) if objective != "prefix" else task_of(objective)
    short = documents([2 * CONTEXT + 4])
    batches = list(task.evaluation_batches(short, 4))
    weights = np.concatenate([b["loss_weights"] for b in batches])
    assert weights[3:].sum() == 0
    assert (weights[:3].sum(axis=1) > 0).all() or objective == "prefix"
    if objective != "span":
        assert weights[2, 5:].sum() == 0


def test_evaluation_of_span_reads_a_whole_last_window():
    task = task_of("span")
    text = documents([2 * CONTEXT + 4])
    (batch,) = task.evaluation_batches(text, 4)
    labels = task.stream.of(task.tokenizers.source.encode_all([text[0].text])).labels
    for row in range(3):
        start = min(row * CONTEXT, len(labels) - CONTEXT)
        window = labels[start : start + CONTEXT].tolist()
        spoken = [t for t in batch["labels"][row].tolist()[:-1] if t < task.tokenizers.size]
        left = [t for t in batch["source"][row].tolist()[:-1] if t < task.tokenizers.size]
        assert sorted(spoken + left) == sorted(window)


def test_evaluation_of_span_counts_no_token_of_its_last_window_twice():
    task, text = task_of("span", mask_rate=0.7), [Document(ALPHABET)]  # each letter once: it determines its position
    (batch,) = task.evaluation_batches(text, 4)
    ids = task.tokenizers.source.encode(ALPHABET).tolist()
    counted = 0
    for label, weight in zip(batch["labels"][1].tolist(), batch["loss_weights"][1].tolist(), strict=True):
        if label in ids:
            assert weight == (ids.index(label) >= CONTEXT)
            counted += weight
    assert 0 < counted <= len(ALPHABET) - CONTEXT
    assert batch["loss_weights"][0].all()
    assert set(batch) <= {*next(task.training_batches()), "example_weights"}


def test_held_out_text_shorter_than_a_window_is_refused_for_spans_alone():
    short = documents([4, CONTEXT - 7])
    for objective in ("causal", "prefix", "masked"):
        assert len(list(task_of(objective, validation=short).evaluation_batches(short))) == 1
    with pytest.raises(UserError, match=r"validation documents together.*got 11 tokens.*at least task.context = 12"):
        task_of("span", validation=short)
    assert task_of("span", validation=documents([4, CONTEXT - 6]))
    with pytest.raises(UserError, match=r"given documents together.*got 11 tokens"):
        list(task_of("span").evaluation_batches(short))


def test_no_text_gives_no_batches():
    for objective in OF:
        assert list(task_of(objective).evaluation_batches([])) == []


def test_names_of_metrics_differ_between_objectives():
    tasks = [task_of(objective) for objective in OF]
    tasks += [task_of("continuation", architecture="seq2seq")]
    names = [name for task in tasks for name in task.metrics]
    assert len(set(names)) == len(names)
    assert "causal_bits_per_byte" in names
    assert "masked_bits_per_byte" not in names  # the hidden tokens are not all of the text
    totals = {"nats": 60.0, "correct": 5.0, "tokens": 20.0, "bytes": 40.0}
    for task in tasks:
        scores = task.scores(totals)
        assert set(scores) == set(task.metrics) == set(task.names.values())
        assert scores[task.names["loss"]] == 3.0
        assert scores[task.names["perplexity"]] == pytest.approx(np.exp(3.0))
    assert tasks[0].scores(totals)["causal_bits_per_byte"] == pytest.approx(60 / 40 / np.log(2))


def test_scores_without_a_label_are_no_numbers_and_never_the_best():
    for objective in OF:
        task = task_of(objective)
        scores = task.scores(dict.fromkeys(("nats", "correct", "tokens", "bytes"), 0.0))
        assert set(scores) == set(task.metrics)
        for name, metric in task.metrics.items():
            assert np.isnan(scores[name])
            assert EarlyStopping(name).after(1, scores[name], metric.mode, None).best is None


@pytest.mark.parametrize(("objective", "architecture"), [*((name, None) for name in OF), ("continuation", "seq2seq")])
def test_lines_count_windows_where_windows_are_learned_from(objective, architecture):
    task, held_out = task_of(objective, architecture=architecture), documents([29, 3, 14])
    batches = list(task.evaluation_batches(held_out))
    assert task.unit == "windows"
    assert task.size(held_out) == sum((batch["example_weights"] > 0).sum() for batch in batches)
    assert task.training_size == (task.plan.windows_per_epoch if objective in OF else len(task.ids)) > 3
    assert task.size([]) == 0


def test_windows_are_counted_by_tokens_where_the_batch_is():
    (shape,) = task_of("causal", batch_tokens=CONTEXT * 2 + 5).plan.shapes
    assert shape == (2, CONTEXT)


def test_a_window_longer_than_the_models_limit_is_a_user_error():
    task_of("causal", limit=CONTEXT)
    with pytest.raises(UserError, match=r"task.context.*got 12; expected at most model.max_length = 11"):
        task_of("causal", limit=CONTEXT - 1)
    longest = task_of("span").max_sequence_length()
    assert longest < CONTEXT
    task_of("span", limit=longest)
    with pytest.raises(UserError, match=rf"got {longest}; expected at most model.max_length = {longest - 1}"):
        task_of("span", limit=longest - 1)


@pytest.mark.parametrize("architecture", ["encoder_only", "decoder_only", "seq2seq"])
@pytest.mark.parametrize("objective", [None, "continuation"])
def test_a_run_with_learned_positions_is_set_up_again_from_its_stored_config(objective, architecture, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{document.text}\n" for document in documents([29] * 40)))
    recipe = defaults(task="language_modelling", data="files")
    recipe.model.update(architecture=architecture, num_layers=1, width=12, num_heads=3, position="learned")
    recipe.task.update(context=24, objective=objective)
    recipe.data.update(path=str(path))
    recipe.training.update(batch_size=3)
    config, _ = resolve(recipe)
    first = set_up(config)
    again = set_up(first.config, RunData(first.task.tokenizers, first.task.metadata))
    assert (again.config, again.task.metadata) == (first.config, first.task.metadata)
    if architecture == "seq2seq":
        assert first.config.model.max_length < 24


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@every_objective
def test_longest_covers_every_sequence_of_the_batches(objective, rate):
    task = task_of(objective, **({"mask_rate": rate} if objective in ("masked", "span") else {}))
    batch = next(task.training_batches())
    longest = max(value.shape[1] for value in batch.values() if value.ndim == 2)
    assert longest == task.max_sequence_length()


# Texts to continue and to fill.

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


# Settings.


def test_an_architecture_has_its_own_objective_unless_another_is_named():
    config = TaskConfig("language_modelling")
    assert [objective_of(config, a) for a in ("decoder_only", "encoder_only", "seq2seq", "rnn_seq2seq")] == [
        "causal",
        "masked",
        "span",
        "span",
    ]
    config = dataclasses.replace(config, objective="continuation")
    assert {objective_of(config, a) for a in ARCHITECTURES} == {"continuation"}


@pytest.mark.parametrize("objective", ["causal", "masked", "span"])
def test_an_objective_that_the_architecture_cannot_have_is_a_user_error_that_names_those_it_can(objective):
    able = OBJECTIVES[objective]
    for architecture in set(ARCHITECTURES) - set(able):
        own = objective_of(TaskConfig("language_modelling"), architecture)
        with pytest.raises(
            UserError, match=rf"expected {own} or continuation\..*needs model.architecture {' or '.join(able)}"
        ):
            objective_of(TaskConfig("language_modelling", objective=objective), architecture)


READ = {
    ("text_to_text", None, "decoder_only"): {"bidirectional_prefix", "bleu"},
    ("text_to_text", None, "seq2seq"): {"bleu"},
    ("classification", None, "decoder_only"): set(),
    ("language_modelling", None, "decoder_only"): {"objective", "context", "segments", "bidirectional_prefix"},
    ("language_modelling", None, "encoder_only"): {"objective", "context", "segments", "mask_rate"},
    ("language_modelling", None, "seq2seq"): {"objective", "context", "segments", "mask_rate", "mean_span"},
    ("language_modelling", None, "rnn_seq2seq"): {"objective", "context", "segments", "mask_rate", "mean_span"},
    ("language_modelling", "continuation", "decoder_only"): {"objective", "context", "bidirectional_prefix"},
    ("language_modelling", "continuation", "encoder_only"): {"objective", "context"},
}


@pytest.mark.parametrize(("name", "objective", "architecture"), READ)
def test_settings_that_a_task_does_not_read_have_an_error_that_names_its_readers(name, objective, architecture):
    every = {f"task.{field.name}" for field in dataclasses.fields(TaskConfig)} - {"task.name"}
    config = Config(task=TaskConfig(name, objective=objective), model=ModelConfig(architecture=architecture))
    errors = {setting: found.error("x") for setting, found in unread(config).items() if setting in every}
    assert set(errors) == every - {f"task.{setting}" for setting in READ[name, objective, architecture]}
    for setting, error in errors.items():
        assert isinstance(error, UserError)
        assert f"{setting} is not read by task {name!r}" in str(error)
        assert f"architecture {architecture!r}; got 'x'; expected it only with " in str(error)
    if "task.mean_span" in errors:
        assert "only with objective span" in str(errors["task.mean_span"])
