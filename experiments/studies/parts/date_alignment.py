"""Dates with their true alignment: the position of each digit of "2026-11-20" in the text of the day.

The format of a locale gives the order of its fields: "d. MMMM y" writes 20 and 2026 in digits and the month as a word.
A digit of the ISO date is aligned with that digit of the text, counted from the right (5 is the second digit of 05);
digits that the text does not write, and the hyphens, are aligned with nothing.
"""

import dataclasses
import datetime
from collections.abc import Sequence

import numpy as np
from babel.dates import DateTimeFormat, get_date_format
from jaxtyping import Float32, Int32

from experiments.data.config import DatesConfig
from experiments.data.sources.dates import FIELD, Writer, split_days, writers
from experiments.data.tokenizers.characters import Characters
from experiments.tasks.collating import collate
from experiments.tasks.framing import Seq2Seq

NOWHERE = -1
"""Position of a token that is aligned with nothing."""
ANSWER = len("2026-11-20") + 1
"""Tokens of an answer, the end token included."""
ISO_DIGITS = {"y": slice(0, 4), "M": slice(5, 7), "L": slice(5, 7), "d": slice(8, 10)}
"""Positions of a field's digits in the ISO date, by the first letter of the field."""


@dataclasses.dataclass(frozen=True)
class Dates:
    """Examples of one shape, with their alignment."""

    arrays: dict[str, Int32[np.ndarray, "N ..."] | Float32[np.ndarray, "N ..."]]
    """Arrays of a seq2seq batch; rows are examples."""
    aligned_NT: Int32[np.ndarray, "N T"]
    """The position in the source of each token of the answer, or NOWHERE."""
    texts: tuple[str, ...]
    """Texts of the sources."""


def aligned(day: datetime.date, writer: Writer) -> tuple[str, list[int]]:
    """Write a day: its text, and the position in it of each token of the ISO date and its end, or NOWHERE."""
    locale, style = writer
    template, iso = get_date_format(style, locale).format, day.isoformat()
    text, positions, end = "", [NOWHERE] * ANSWER, 0
    for field in FIELD.finditer(template):
        text += template[end : field.start()] % ()
        end, word = field.end(), DateTimeFormat(day, locale)[field[1]]
        span = ISO_DIGITS.get(field[1][0])
        if span is not None and word.isdecimal():
            digits = range(span.start, span.stop)[-len(word) :]
            first = len(text) + len(word) - len(digits)
            for i, position in enumerate(digits, start=first):
                positions[position] = i
        text += word
    text += template[end:] % ()
    for position, i in enumerate(positions):
        if i != NOWHERE and int(text[i]) != int(iso[position]):
            positions[position] = NOWHERE
    return text, positions


def date_splits(config: DatesConfig, counts: tuple[int, int], seed: int = 0) -> tuple[Dates, Dates, int]:
    """Draw (training, held out, V) with `counts` examples, evenly over days and writers; no day is in both.

    Raises:
        UserError: an unknown locale or format, or years that end before they start.
    """
    learn, check, _ = split_days(config, seed)
    among, drawn = writers(config), []
    for stream, (days, count) in enumerate(zip((learn, check), counts, strict=True), start=1):
        rng = np.random.default_rng((seed, stream))
        pairs = zip(rng.integers(len(days), size=count), rng.integers(len(among), size=count), strict=True)
        drawn.append([(days[i], *aligned(days[i], among[j])) for i, j in pairs])
    tokenizer = Characters.fit([text for _, text, _ in drawn[0]] + ["0123456789-"])
    longest = 1 + max(len(text) for rows in drawn for _, text, _ in rows)
    learn, check = (_stacked(rows, tokenizer, longest) for rows in drawn)
    return learn, check, tokenizer.size


def _stacked(rows: Sequence[tuple[datetime.date, str, list[int]]], tokenizer: Characters, longest: int) -> Dates:
    """Encode the rows and stack them."""
    encode, frame = tokenizer.encode, Seq2Seq(ANSWER)
    examples = [frame.example(encode(text), encode(day.isoformat())) for day, text, _ in rows]
    lengths = {name: longest if name == "source" else ANSWER for name in examples[0]}
    positions_NT = np.array([positions for _, _, positions in rows], np.int32)
    return Dates(collate(examples, lengths), positions_NT, tuple(text for _, text, _ in rows))
