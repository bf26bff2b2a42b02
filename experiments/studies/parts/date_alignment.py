"""Dates with their true alignment: where each digit of "2026-11-20" stands in the text that says the day.

The format of a locale says where its fields stand: "d. MMMM y" writes 20 and 2026 in digits and the month as a word.
A digit of the ISO date that the text writes is aligned with it, counted from the right (5 is the second digit of 05);
what the text does not write in digits, and the hyphens, are aligned with nothing.
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
from experiments.tasks.framing import Seq2Seq, collate

NOWHERE = -1
ANSWER = len("2026-11-20") + 1
"""Tokens of an answer, the end token included."""
PLACES = {"y": slice(0, 4), "M": slice(5, 7), "L": slice(5, 7), "d": slice(8, 10)}
"""First letter of a field -> where its digits stand in the ISO date."""


@dataclasses.dataclass(frozen=True)
class Dates:
    """Examples that all have one shape, i of N, with their alignment."""

    arrays: dict[str, Int32[np.ndarray, "N ..."] | Float32[np.ndarray, "N ..."]]
    """A batch of seq2seq; rows are examples."""
    aligned_NT: Int32[np.ndarray, "N T"]
    """The position in the source of each token of the answer, or NOWHERE."""
    texts: tuple[str, ...]


def aligned(day: datetime.date, writer: Writer) -> tuple[str, list[int]]:
    """The text of a day, and the place in it of each token of its ISO date and end, or NOWHERE."""
    locale, style = writer
    template, iso = get_date_format(style, locale).format, day.isoformat()
    text, places, end = "", [NOWHERE] * ANSWER, 0
    for field in FIELD.finditer(template):
        text += template[end : field.start()] % ()
        end, word = field.end(), DateTimeFormat(day, locale)[field[1]]
        where = PLACES.get(field[1][0])
        if where is not None and word.isdecimal():
            digits = range(where.start, where.stop)[-len(word) :]
            first = len(text) + len(word) - len(digits)
            for i, place in enumerate(digits, start=first):
                places[place] = i
        text += word
    text += template[end:] % ()
    for place, i in enumerate(places):
        if i != NOWHERE and int(text[i]) != int(iso[place]):
            places[place] = NOWHERE
    return text, places


def date_splits(config: DatesConfig, counts: tuple[int, int], seed: int = 0) -> tuple[Dates, Dates, int]:
    """(training, held out, V): each has `counts` examples, drawn evenly over days and writers; no day is in both.

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
    encode, frame = tokenizer.encode, Seq2Seq()
    examples = [frame.example(encode(text), encode(day.isoformat()), ANSWER) for day, text, _ in rows]
    lengths = {name: longest if name == "source" else ANSWER for name in examples[0]}
    places_NT = np.array([places for _, _, places in rows], np.int32)
    return Dates(collate(examples, lengths), places_NT, tuple(text for _, text, _ in rows))
