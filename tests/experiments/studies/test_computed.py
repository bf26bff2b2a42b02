"""Studies without training: numbers have the properties that are known of them, and words follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import dependence, padding, permutation, sinusoids
from experiments.studies.frame.text import Text
from experiments.studies.parts import padding_claims, sinusoid_claims
from experiments.studies.parts.identities import UNEXPECTED, explained, present, shown
from experiments.studies.parts.jacobians import by_token
from tests.fixtures.speeds import more

EXACT, COUNTER, UNDECIDED = "holds exactly", "fails, with a counterexample", "undecided"
TINY_SINUSOIDS = sinusoids.SinusoidsSettings(length=33, width=(6, 10))
WORDS = Text("size", "大小")


def words(claims):
    return [claim.words() for claim in claims]


def has_no_doubtful_text(claims):
    """Check that every text is given in both languages, and that no identity has a "±"."""
    for claim in claims:
        texts = [claim.said, claim.criterion, claim.instead, *(case.measured for case in claim.cases)]
        assert all(len(text) == 2 and all(text) for text in texts)
        assert not any("±" in part for case in claim.cases for part in case.measured)
    return True


@pytest.fixture(scope="module")
def permuted():
    return permutation.measure(permutation.PermutationSettings(length=5, width=8, seeds=(0, 1)))


@pytest.fixture(scope="module")
def padded():
    return padding.measure(padding.PaddingSettings(length=5, padding=2, width=3, seeds=(0, 1, 2)))


@pytest.fixture(scope="module")
def depending():
    return dependence.measure(dependence.DependenceSettings(target_length=3, source_length=5, width=4, seeds=(0, 1)))


def test_what_is_present_is_above_zero_in_every_draw_and_the_control_is_not():
    def word(sizes, absent):
        return present(WORDS, sizes, absent, what=WORDS, control=WORDS, tolerance=1e-5).word

    assert word([0.5, 0.01], [0.0]) == EXACT
    assert word([0.5, 0.0], [0.0]) == UNDECIDED
    assert word([0.5, 1e-4], [0.0]) == UNDECIDED
    assert word([0.5, 0.01], [0.1]) == UNDECIDED
    assert word([0.5, 0.01], [np.nan]) == UNDECIDED
    assert word([0.5, np.nan], [0.0]) == UNDECIDED
    assert word([0.0, 1e-9], [0.0]) == COUNTER


def test_an_explanation_of_other_words_is_not_given():
    case = present(WORDS, [1.0], [0.0], what=WORDS, control=WORDS)
    assert explained([case], [EXACT], WORDS) == WORDS
    assert explained([case], [COUNTER], WORDS) == UNEXPECTED
    assert (shown(0.0), shown(0.25, 2)) == ("0", "0.25")


@pytest.mark.more
def test_self_attention_is_equivariant_and_not_invariant(permuted):
    assert permuted["self"]["moved_R"].max() < 1e-5
    assert permuted["self"]["same_R"].min() > 0.05
    assert permuted["self"]["pooled_R"].max() < 1e-5


@pytest.mark.more
def test_a_mask_or_positions_break_it_and_cross_attention_reads_a_set(permuted):
    for case in ("causal", "self, sinusoidal", "self, rotary"):
        assert permuted[case]["moved_R"].min() > 0.01
    assert permuted["source of cross"]["same_R"].max() < 1e-5
    assert permuted["source of cross, sinusoidal"]["same_R"].min() > 1e-3
    assert permuted["causal, one layer"]["last_R"].max() < 1e-5
    assert permuted["causal"]["last_R"].min() > 1e-3


@pytest.mark.more
def test_a_replaced_token_changes_every_reading(permuted):
    for row in permuted.values():
        assert min(row[f"replaced{name}_R"].min() for name in ("", "_pooled", "_last")) > 1e-3


def shuffled():
    """Numbers as the mathematics has them: rounding where nothing changes, and a tenth where something does."""
    nothing, something = np.full(3, 1e-7), np.full(3, 0.1)
    replaced = dict.fromkeys(("replaced_R", "replaced_pooled_R", "replaced_last_R"), something)
    made = {case: dict.fromkeys(permutation.READINGS, something) | replaced for case in permutation.CASES}
    made["self"] |= {"moved_R": nothing, "pooled_R": nothing, "last_R": nothing}
    made["source of cross"] |= dict.fromkeys(permutation.READINGS, nothing)
    made["causal, one layer"] |= {"last_R": nothing}
    return made


@pytest.mark.parametrize("measured", [False, more(True)])
def test_permutation_words_follow_the_numbers(measured, request):
    permuted = request.getfixturevalue("permuted") if measured else shuffled()
    claims = permutation.judge(permuted)
    assert words(claims) == [
        [COUNTER, EXACT, EXACT],
        [EXACT, COUNTER, COUNTER, COUNTER],
        [EXACT, COUNTER],
        [EXACT, COUNTER],
    ]
    assert UNEXPECTED not in [claim.instead for claim in claims]
    assert has_no_doubtful_text(claims)
    one = {case: {name: x * 0.0 + 1.0 for name, x in row.items()} for case, row in permuted.items()}
    assert {word for found in words(permutation.judge(one)) for word in found} == {COUNTER}
    # Nothing changes anything, so the controls do not either, and nothing is shown.
    zero = {case: {name: x * 0.0 for name, x in row.items()} for case, row in permuted.items()}
    assert {word for found in words(permutation.judge(zero)) for word in found} == {UNDECIDED}
    assert {claim.instead for claim in permutation.judge(zero)} == {UNEXPECTED}


def test_a_shuffle_that_one_draw_does_not_feel_is_no_counterexample():
    made = shuffled()
    made["causal"]["moved_R"] = np.array([0.1, 1e-7, 0.1])
    assert permutation.judge(made)[1].words()[1] == UNDECIDED


def test_the_figure_of_permutation_marks_what_is_not_defined():
    made = shuffled()
    made["source of cross"]["moved_R"] = np.full(3, np.nan)
    axes = permutation.draw(made).axes
    assert [text.get_text() for text in axes[0].texts] == ["n/a"]
    assert not axes[1].texts


@pytest.fixture(scope="module")
def coded():
    return sinusoids.measure(TINY_SINUSOIDS)


def test_codes_are_unique_bounded_and_alike_by_distance(coded):
    for row in coded["rows"].values():
        assert row["nearest"] > 0.1
        assert row["largest"] <= 1.0 + 1e-6
        assert row["change"] < 1e-5
        assert row["change_of_sines"] > 0.1
        assert row["similarity_T"][0] == pytest.approx(1.0, abs=1e-6)
    claims = sinusoids.judge(coded)
    assert words(claims) == [[EXACT] * 2, [EXACT] * 2, [COUNTER, COUNTER, "fails", "fails"]]
    assert has_no_doubtful_text(claims)
    assert sinusoids.draw(coded).axes


def with_rows(coded, **changes):
    return {**coded, "rows": {width: {**row, **changes} for width, row in coded["rows"].items()}}


def test_sinusoid_words_follow_the_numbers(coded):
    def found(number, **changes):
        return sinusoids.judge(with_rows(coded, **changes))[number - 1].words()

    assert found(1, nearest=0.0) == [COUNTER] * 2
    assert found(1, nearest=1e-4) == [UNDECIDED] * 2
    assert found(1, largest=1.1) == [COUNTER] * 2
    assert words(sinusoids.judge({**coded, "repeating": 0.1}))[0] == [UNDECIDED] * 2
    assert found(2, change=0.5) == [COUNTER] * 2
    assert found(2, change_of_sines=0.0) == [UNDECIDED] * 2
    assert found(3, similarity_T=np.linspace(1.0, 0.5, 33), rank=-1.0) == [EXACT, EXACT, "holds", "holds"]
    assert found(3, rank=-0.89)[2:] == ["fails"] * 2


def test_the_text_on_the_fall_of_similarity_is_computed(coded):
    text = sinusoids.judge(coded)[2].instead
    rises = {w: sinusoid_claims.first_rise(row["similarity_T"]) for w, row in coded["rows"].items()}
    for width, rise in rises.items():
        assert f"{rise} with D = {width}" in text.en
        assert f"D = {width} 时为 {rise}" in text.zh
    assert "No width has a falling trend" in text.en
    trend = sinusoids.judge(with_rows(coded, rank=-0.95))[2].instead
    assert "falls up to distance 64 with D = 6, 10" in trend.en
    falling = sinusoids.judge(with_rows(coded, similarity_T=np.linspace(1.0, 0.5, 33)))[2].instead
    assert falling.en == "It falls at every step, at each of these widths."


def test_the_first_rise_is_the_first_distance_that_is_more_alike_than_the_one_before():
    assert sinusoid_claims.first_rise(np.array([1.0, 0.9, 0.8, 0.9])) == 3
    assert sinusoid_claims.first_rise(np.array([1.0, 0.9, 0.8])) is None


def test_codes_that_repeat_have_distance_zero():
    assert sinusoids.nearest(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])) == 0.0


def test_embeddings_of_minus_infinity_give_nan_and_the_mask_here_is_right(padded):
    ways, (_, PADDED, EMPTY) = padded["ways"], range(3)
    assert np.all(ways[padding_claims.INFINITE_EMBEDDINGS]["nan"][:, PADDED] == 1.0)
    for reading in ways[padding_claims.MASK].values():
        assert np.all(reading <= 1e-5)
    assert np.all(ways[padding_claims.ZERO_EMBEDDINGS]["weight"][:, PADDED] > 0.01)
    assert np.all(ways[padding_claims.ZERO_SCORES]["leak"][:, PADDED] > 1e-3)
    assert np.all(ways[padding_claims.LARGE_SCORES]["error"][:, EMPTY] > 1e-2)
    for way in (padding_claims.INFINITE_SCORES, padding_claims.HALF_SCORES):
        assert np.all(ways[way]["nan"][:, EMPTY] == 1.0)
    for way in (padding_claims.LARGE_SCORES, padding_claims.INFINITE_SCORES):
        assert np.all(padding_claims.errors(ways[way], PADDED) < 1e-5)
    for name, way in ways.items():  # without padding every way is the same
        if name != padding_claims.HALF_SCORES:
            assert np.all(way["error"][:, padding_claims.FULL] < 1e-5)


def test_padding_words_follow_the_numbers(padded):
    claims = padding.judge(padded)
    assert words(claims) == [[COUNTER] * 2] * 3 + [[EXACT, COUNTER] * 2, [EXACT, COUNTER]]
    assert has_no_doubtful_text(claims)
    assert UNEXPECTED not in [claim.instead for claim in claims]
    assert padding.draw(padded).axes

    def swapped(way, by):
        return words(padding.judge({**padded, "ways": {**padded["ways"], way: padded["ways"][by]}}))

    mask = padding_claims.MASK
    for i, (_, names, *_) in enumerate(padding_claims.SENTENCES):
        for j, name in enumerate(names):
            assert swapped(name, mask)[i][2 * j : 2 * j + 2] == [EXACT] * 2
            assert swapped(name, padding_claims.ZERO_SCORES)[i][2 * j : 2 * j + 2] == [COUNTER] * 2
    assert {w for found in swapped(padding_claims.NOTHING, mask) for w in found} == {COUNTER, UNDECIDED}


def test_a_counterexample_of_padding_shows_its_smallest_numbers(padded):
    case = padding.judge(padded)[1].cases[0]
    weight_R = padded["ways"][padding_claims.ZERO_EMBEDDINGS]["weight"][:, padding_claims.PADDED]
    assert case.numbers["weight"] == pytest.approx(weight_R.min())
    assert f"weight on padding {shown(weight_R.min(), 2)}" in case.measured.en


def test_the_masks_that_are_drawn_show_the_keys_that_are_visible(padded):
    drawn = padded["masks"]
    assert np.array_equal(drawn["decoder self: causal"], np.tril(np.ones((5, 5), int)))
    assert np.array_equal(drawn["encoder self: padding"][2], [1, 1, 1, 0, 0])
    both = drawn["decoder self: causal"] * drawn["encoder self: padding"]
    assert np.array_equal(drawn["decoder self: causal & padding"], both)


def test_blocks_are_zero_where_nothing_is_visible(depending):
    found = depending["blocks_RTS"]
    assert found["cross, source X"].shape == (2, 3, 5)
    off = ~np.eye(3, dtype=bool)
    assert np.all(found[dependence.TARGET][:, off] == 0.0)
    assert np.all(found[dependence.TARGET][:, ~off] > 0.0)
    assert np.all(found["causal"][:, np.triu(np.ones((5, 5), bool), 1)] == 0.0)
    assert np.all(found["self"] > 0.0)


def test_dependence_words_follow_the_numbers(depending):
    def found(**changes):
        return words(dependence.judge({"blocks_RTS": {**depending["blocks_RTS"], **changes}}))

    assert found() == [[EXACT, COUNTER], [EXACT, COUNTER], [EXACT, EXACT]]
    assert has_no_doubtful_text(dependence.judge(depending))
    assert dependence.draw(depending).axes
    blocks = depending["blocks_RTS"]
    assert found(**{"self": np.tril(blocks["self"])})[0][0] == COUNTER
    assert found(**{"cross, source X": blocks["cross, source X"] * np.eye(3, 5)})[1][0] == COUNTER
    assert found(**{dependence.TARGET: np.ones_like(blocks[dependence.TARGET])})[1][1] == EXACT
    assert found(**{"RNN, source": blocks["RNN, source"] * np.eye(3, 5)})[2] == [COUNTER, EXACT]
    assert found(**{"RNN, target": blocks["RNN, target"] * np.eye(3)})[2] == [EXACT, COUNTER]
    # Without blocks that the mask hides there is no control.
    assert found(causal=np.ones_like(blocks["causal"])) == [[UNDECIDED] * 2, [UNDECIDED, COUNTER], [UNDECIDED] * 2]


@pytest.mark.more
def test_the_recurrent_decoder_depends_on_the_source_through_its_first_state_alone():
    """So it depends less on it with every step; with attention it would depend as much in each."""
    of_source = dependence.recurrent(jax.random.key(0), 8, 4, 8)["RNN, source"]
    assert of_source[-1].mean() < 0.2 * of_source[0].mean()


@pytest.mark.more
def test_dependence_on_tokens_is_that_on_their_embeddings():
    model = transformer.build(dict(architecture="decoder_only", vocab_size=8, width=4, num_heads=1, num_layers=1))
    of_source, of_target = by_token(model, jax.random.key(0), 3, 5)
    assert of_source.shape == (3, 5)
    assert np.all(of_source == 0.0)
    assert np.all(np.triu(of_target, 1) == 0.0)
    assert np.all(of_target[np.tril_indices(3)] > 0.0)


def test_points_are_left_of_the_axis_where_nothing_is_drawn():
    from experiments.studies.frame.pictures import panels, points

    figure, grid = panels(1)
    points(grid[0, 0], ["a", "b", "c"], np.array([[0.5, 0.0], [np.nan, np.nan], [1.0, 2.0]]), low=1e-3)
    drawn = [
        (*line.get_xdata(), line.get_markerfacecolor() == "none") for line in grid[0, 0].lines if len(line.get_xdata())
    ]
    assert drawn == [(0.5, False), (1e-3, True), (1.0, 2.0, False)]
    assert [text.get_text() for text in grid[0, 0].texts] == ["n/a"]
    assert jnp.isfinite(figure.get_figwidth())
