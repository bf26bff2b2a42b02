"""Scores by label against their definitions, counted one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.runs.label_scores import confusion_counts, label_scores, macro_f1

CLASSES = ("a", "b", "c")
LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)


@given(LABELS)
def test_precision_recall_and_f1_are_those_counted_by_hand(pairs):
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    found = {score.label: score for score in label_scores(confusion_counts(labels, predicted, 3), CLASSES)}
    f1s = []
    for i, name in enumerate(CLASSES):
        right = sum(label == guess == i for label, guess in pairs)
        guesses, examples = (predicted == i).sum(), (labels == i).sum()
        if not guesses and not examples:
            assert name not in found
            continue
        score = found[name]
        assert (score.precision is None) == (guesses == 0)
        assert (score.recall is None) == (examples == 0)
        if guesses:
            assert (score.precision.value, score.precision.count) == (right / guesses, guesses)
        if examples:
            assert (score.recall.value, score.recall.count) == (right / examples, examples)
        # the harmonic mean of the two, 0 where one is 0 or has no value
        both = right / guesses if guesses else 0.0, right / examples if examples else 0.0
        f1s.append(2 * both[0] * both[1] / sum(both) if sum(both) else 0.0)
        np.testing.assert_allclose(score.f1, f1s[-1])
    np.testing.assert_allclose(macro_f1(list(found.values())), np.mean(f1s))
