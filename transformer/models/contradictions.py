"""Settings that contradict each other: a row of CONTRADICTIONS each; and those without which a model cannot be built.

Settings of variants that no row names may be combined.
"""

import dataclasses
from collections.abc import Callable

from transformer.errors import counted, problem
from transformer.models.reads import has_axis, score_of, stacks
from transformer.nn.block_layout import BLOCK_LAYOUTS, check_layout, ends_with_norm
from transformer.nn.block_layout import ROWS as LAYOUT_ROWS
from transformer.nn.mixers import MIXERS, Mixer
from transformer.nn.module_rows import FEED_FORWARDS, structure
from transformer.nn.positions import POSITIONS, Position
from transformer.nn.settings import ModelSettings
from transformer.nn.user_functions import check_functions
from transformer.ops.scores import Score
from transformer.ops.weights import WEIGHTS


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """A row of CONTRADICTIONS.

    Attributes:
        holds: (resolved config, its score or None) -> True where the config contradicts itself.
        what, got, expected, do: the parts of the error.
    """

    holds: Callable[[ModelSettings, Score | None], bool]
    what: str
    got: Callable[[ModelSettings], str]
    expected: str | None = None
    do: str | None = None


def _no_content(score: Score | None) -> bool:
    return score is not None and not score.reads_content


def _lists(config: ModelSettings) -> dict[str, tuple[int, str]]:
    """Return the settings that are given for another number of layers: their number, and the layers that there are."""
    encoder, decoder = config.num_encoder_layers or config.num_layers, config.num_decoder_layers or config.num_layers
    both = {encoder, decoder}
    layers = {
        "window": both if config.encoder_window is None else {decoder},
        "encoder_window": {encoder},
        "rotary_base": both,
    }
    given = {name: value for name in layers if isinstance(value := getattr(config, name), tuple)}
    return {
        name: (len(value), " and ".join(counted(number, "layer") for number in sorted(layers[name])))
        for name, value in given.items()
        if layers[name] != {len(value)}
    }


def _position(config: ModelSettings) -> Position:
    return POSITIONS.of(config, "position")


def _rotates(config: ModelSettings) -> bool:
    return _position(config).rotates is not None


def _within_attention(config: ModelSettings) -> bool:
    """Return whether the positions work within self-attention."""
    return _rotates(config) or _position(config).bias is not None


def _mixer(config: ModelSettings) -> Mixer | None:
    """Return the row of the mixer; None where a model has none."""
    has_blocks = not structure(config.architecture).recurrent and config.self_attention
    return MIXERS.of(config, "mixer") if has_blocks else None


def _misplaced(config: ModelSettings) -> list[str]:
    """List the stacks of a model in which its mixer cannot stand."""
    mixer = _mixer(config)
    stacks = structure(config.architecture).stacks
    return [] if mixer is None else [stack for stack in stacks if stack not in mixer.stacks]


def _turns_pairs(config: ModelSettings) -> bool:
    return _position(config).pairs


CONTRADICTIONS = {
    "positions of self-attention, no self-attention": Contradiction(
        lambda config, _: _within_attention(config) and not config.self_attention,
        "these positions work within self-attention",
        lambda config: f"model.position {config.position}, model.self_attention false",
        do="Set model.position to one that is added to the embeddings, or to none.",
    ),
    "positions of self-attention, a mixer that does not read them": Contradiction(
        lambda config, _: (
            _within_attention(config) and (mixer := _mixer(config)) is not None and not mixer.reads_setting("position")
        ),
        "these positions work within self-attention, and the mixer does not read them",
        lambda config: f"model.position {config.position}, model.mixer {config.mixer}",
        do="Set model.position to one that is added to the embeddings, or to none.",
    ),
    "a mixer, a stack in which it cannot stand": Contradiction(
        lambda config, _: bool(_misplaced(config)),
        "the mixer cannot stand in a stack of this architecture: tokens of an encoder see both ways, of a decoder back",
        lambda config: (
            f"model.mixer {config.mixer} of the {' and '.join(MIXERS.of(config, 'mixer').stacks)} alone,"
            f" model.architecture {config.architecture} with the {' and '.join(_misplaced(config))}"
        ),
        do="Set another model.architecture, or another model.mixer.",
    ),
    "rotary positions, an odd width": Contradiction(
        lambda config, _: _turns_pairs(config) and config.head_width % 2 == 1,
        "rotary positions rotate pairs of entries",
        lambda config: f"head_width {config.head_width}",
        "even",
    ),
    "settings of each layer, another number of layers": Contradiction(
        lambda config, _: bool(_lists(config)),
        "a setting is given for another number of layers than there are",
        lambda config: ", ".join(
            f"model.{name} of {length} for {layers}" for name, (length, layers) in _lists(config).items()
        ),
        "one value, or one for each layer of every stack",
    ),
    "fewer distances than buckets": Contradiction(
        lambda config, _: _position(config).has_buckets and config.relative.max_distance < config.relative.buckets,
        "buckets of distances would hold nothing",
        lambda config: f"model.relative.buckets {config.relative.buckets}, max_distance {config.relative.max_distance}",
        "a max_distance of at least the buckets",
    ),
    "a score without content, norms of queries and keys": Contradiction(
        lambda config, score: _no_content(score) and config.attention.query_key_norm is not None,
        "norms of queries and keys change nothing where the score does not read them",
        lambda config: f"model.score {config.score}, model.attention.query_key_norm {config.attention.query_key_norm}",
        "a score of queries and keys, or query_key_norm none",
    ),
    "a sink, weights without one": Contradiction(
        lambda config, _: config.attention.sink and not WEIGHTS.of(config.attention, "weights").is_softmax,
        "an attention sink is one more key of the softmax, and other weights have none",
        lambda config: f"model.attention.weights {config.attention.weights}, model.attention.sink true",
        "weights softmax, or sink false",
    ),
    "a score without content, two maps": Contradiction(
        lambda config, score: _no_content(score) and config.attention.differential,
        "the two maps of differential attention are equal where the score does not read queries and keys",
        lambda config: f"model.score {config.score}, model.attention.differential true",
        "a score of queries and keys, or differential false",
    ),
    "a score with parameters of a head's width, two maps": Contradiction(
        lambda config, score: config.attention.differential and score is not None and has_axis(score, "H"),
        "differential attention halves the width of queries and keys, which the score has parameters for",
        lambda config: f"model.score {config.score}, model.attention.differential true",
        "a score without them, or differential false",
    ),
    "two maps, an odd width": Contradiction(
        lambda config, _: config.attention.differential and config.head_width % 2 == 1,
        "differential attention takes the two halves of each head",
        lambda config: f"head_width {config.head_width}",
        "even",
    ),
    "two maps that are rotated, a width that is no multiple of 4": Contradiction(
        lambda config, _: config.attention.differential and _turns_pairs(config) and config.head_width % 4 != 0,
        "rotary positions rotate pairs of entries in each half of a head of differential attention",
        lambda config: f"head_width {config.head_width}",
        "a multiple of 4",
    ),
    "a score without content, positions that rotate queries and keys": Contradiction(
        lambda config, score: _no_content(score) and _rotates(config),
        "positions that rotate queries and keys change nothing where the score does not read them",
        lambda config: f"model.score {config.score}, model.position {config.position}",
        "a score of queries and keys, or another position",
    ),
    "a feed-forward, a width of 0": Contradiction(
        lambda config, _: (
            config.feed_forward_width == 0 and FEED_FORWARDS.of(config, "feed_forward") != FEED_FORWARDS["mlp"]
        ),
        "a feed-forward of width 0 is none",
        lambda config: f"model.feed_forward {config.feed_forward}, model.feed_forward_width 0",
        "another model.feed_forward_width, or no model.feed_forward",
    ),
    "no first norm, a layout without one": Contradiction(
        lambda config, _: not config.embedding.first_norm and not ends_with_norm(config),
        "the first sublayer has no norm before it that could be left out",
        lambda config: f"model.norm_placement {config.norm_placement}, model.embedding.first_norm false",
        "norm_placement pre, sandwich or parallel",
    ),
    "two directions, an odd width": Contradiction(
        lambda config, _: structure(config.architecture).recurrent and config.width % config.recurrent.directions != 0,
        "a bidirectional encoder gives half of model.width to each direction",
        lambda config: f"width {config.width}",
        "even",
        "Set model.recurrent.bidirectional=false, or another model.width.",
    ),
    "recurrent layers, a score of positions": Contradiction(
        lambda config, score: structure(config.architecture).recurrent and score is not None and score.reads_positions,
        "model.recurrent.attention reads queries and keys, not positions",
        lambda config: str(config.recurrent.score),
        "a score of queries and keys, or none",
    ),
}


def check(config: ModelSettings) -> None:
    """Check a resolved config as a whole.

    Raises:
        UserError: settings that contradict each other, or a user's own function that cannot be used.
    """
    score = score_of(config)
    for row in CONTRADICTIONS.values():
        if row.holds(config, score):
            raise problem(row.what, got=row.got(config), expected=row.expected, do=row.do)
    recurrent = structure(config.architecture).recurrent
    chosen = config.recurrent.score if recurrent else config.score
    setting = f"{'model.recurrent.attention' if recurrent else 'model.score'} {str(chosen)!r}"
    check_functions(config, score, setting, self_alone=len(structure(config.architecture).stacks) == 1)
    layout = BLOCK_LAYOUTS.of(config, "norm_placement")
    if layout not in LAYOUT_ROWS.values():
        for parts in stacks(config).values():
            names = [name for name in parts if name != "residual"]
            if names:
                check_layout(layout, f"model.norm_placement {str(config.norm_placement)!r}", names)


def check_complete(config: ModelSettings) -> None:
    """Check that a resolved config has the sizes that come with the data: of the vocabulary, the table, the classes.

    Raises:
        UserError: a size that is needed and not set.
    """
    if config.vocab_size is None:
        raise problem("model.vocab_size is not set", expected="the number of tokens", do="Set model.vocab_size.")
    if config.class_head.reads is not None and config.class_head.classes is None:
        expected = "model.class_head.classes, the number of classes"
        raise problem("model.class_head.reads is not read", got=config.class_head.reads, expected=expected)
    if _position(config).is_bounded and config.max_length is None:
        raise problem("learned positions need model.max_length", expected="the longest sequence, in tokens")
