"""Defaults of generation of a checkpoint: generation_config.json, or the same entries of an earlier config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformer.decoding import Beam, Greedy, MinLength, NoRepeatNgram, RepetitionPenalty, Sampling
from transformer.decoding.fixed_rules import Banned, Forced
from transformer.decoding.rules import Rule
from transformer.errors import problem, shorten
from transformer.interop.tensors import read_json

NOT_EXPRESSED: dict[str, Any] = {
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "guidance_scale": 1.0,
    "penalty_alpha": 0.0,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "force_words_ids": None,
    "constraints": None,
    "forced_decoder_ids": None,
    "prompt_lookup_num_tokens": None,
    "watermarking_config": None,
}
"""Entries that change what is generated and that no strategy or rule expresses -> the value that changes nothing."""


READ = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "max_length", "max_new_tokens"),
    *("num_beams", "do_sample", "length_penalty", "early_stopping", "num_return_sequences"),
    *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids"),
    *("min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id"),
    *("suppress_tokens", "begin_suppress_tokens", *NOT_EXPRESSED),
)
"""Entries of a config.json that are defaults of generation."""


class Generation(NamedTuple):
    """The defaults of generation of a checkpoint: `generate(model, params, batch, steps=20, **generation.arguments)`.

    Attributes:
        entries: those of generation_config.json, or of config.json where there is no such file.
        encoder_decoder: True where the decoder starts with a token of its own.
    """

    entries: Mapping[str, Any]
    encoder_decoder: bool

    @property
    def start(self) -> int | None:
        """The token with which a decoder, or an empty prompt, begins; None: there is none."""
        names = ("decoder_start_token_id", "bos_token_id") if self.encoder_decoder else ("bos_token_id",)
        return next((self.entries[name] for name in names if self.entries.get(name) is not None), None)

    @property
    def end(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        given = self.entries.get("eos_token_id")
        return () if given is None else tuple(given) if isinstance(given, list) else (given,)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `transformer.decoding.generate` beside model, batch, steps and key.

        Raises:
            UserError: an entry that no strategy or rule expresses.
        """
        for name, value in NOT_EXPRESSED.items():
            if self.entries.get(name, value) not in (value, None):
                raise _refused(name, self.entries[name], f"{name} {value}")
        padding = self.entries.get("pad_token_id")
        padding = padding if padding is not None else next(iter(self.end), 0)
        end = self.end or None
        return {"end": end, "padding": padding, "strategy": self.strategy, "rules": self.rules}

    @property
    def strategy(self) -> Greedy | Sampling | Beam:
        """The strategy: greedy, sampling or a beam."""
        width, draws = self.entries.get("num_beams") or 1, bool(self.entries.get("do_sample"))
        if width > 1 and draws:
            raise _refused("do_sample", True, "num_beams 1, or do_sample false")
        if width > 1:
            return Beam(
                width=width,
                length_penalty=float(self._value("length_penalty", 1.0)),
                early_stopping=self._value("early_stopping", False),
                num_return=None
                if self._value("num_return_sequences", 1) == 1
                else self.entries["num_return_sequences"],
            )
        if not draws:
            return Greedy()
        return Sampling(
            temperature=float(self._value("temperature", 1.0)),
            top_k=self._value("top_k", 50) or None,
            top_p=None if self._value("top_p", 1.0) >= 1.0 else self.entries["top_p"],
            min_p=self.entries.get("min_p"),
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in the order in which `transformers` applies them."""
        found: list[Rule] = []
        if (penalty := self._value("repetition_penalty", 1.0)) != 1.0:
            found.append(RepetitionPenalty(float(penalty)))
        if size := self._value("no_repeat_ngram_size", 0):
            found.append(NoRepeatNgram(size))
        if banned := self._banned():
            found.append(Banned(banned))
        if least := self._least():
            found.append(MinLength(least, self.end))
        if (first := self.entries.get("forced_bos_token_id")) is not None:
            found.append(Forced(first))
        if (last := self.entries.get("forced_eos_token_id")) is not None:
            found.append(Forced(last[0] if isinstance(last, list) else last, last=True))
        if suppressed := self.entries.get("suppress_tokens"):
            found.append(Banned(tuple(suppressed)))
        if at_first := self.entries.get("begin_suppress_tokens"):
            found.append(Banned(tuple(at_first), first_only=True))
        return tuple(found)

    def _value(self, name: str, default: Any) -> Any:
        value = self.entries.get(name)
        return default if value is None else value

    def _banned(self) -> tuple[int, ...]:
        """Return the tokens that are never written."""
        given = self.entries.get("bad_words_ids") or []
        if any(len(words) != 1 for words in given):
            raise _refused("bad_words_ids", given, "lists of one token each")
        return tuple(words[0] for words in given if words[0] not in self.end)

    def _least(self) -> int:
        """Return the least number of tokens of an answer."""
        if (given := self._value("min_new_tokens", 0)) or not self._value("min_length", 0):
            return int(given)
        if not self.encoder_decoder:
            raise _refused("min_length", self.entries["min_length"], "min_new_tokens, which does not count the prompt")
        return max(int(self.entries["min_length"]) - 1, 0)


def _refused(name: str, got: Any, expected: str) -> Exception:
    what = f"generation_config.json: {name} is not expressed by a strategy or a rule"
    return problem(what, got=shorten(repr(got)), expected=expected)


def generation_of(directory: Path, config: Mapping[str, Any]) -> Generation:
    """Read the defaults of generation of a checkpoint.

    Raises:
        UserError: a file that is no JSON object.
    """
    path = directory / "generation_config.json"
    own = read_json(path) if path.is_file() else {}
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    earlier = {name: config[name] for name in (names if own else READ) if name in config}
    return Generation({**earlier, **own}, bool(config.get("is_encoder_decoder")))
