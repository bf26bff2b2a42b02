"""A run in Python: a trained model with its tokenizers, config and metrics, which answers, has scores, and is drawn."""

import base64
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.cli.python_words import in_python
from experiments.cli.values import plain
from experiments.comparing.statistics import Value
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.runs import capturing, drawing, generation, scoring
from experiments.runs.open_run import NO_EXAMPLE, answer_text, example_text
from experiments.runs.report import scores_table
from experiments.runs.trained import TrainedExperiment
from experiments.settings import Config, find
from experiments.storage import metrics
from experiments.tasks.task import Task
from experiments.training.reporter import Reporter
from experiments.training.tables import to_html
from transformer import Model, schema
from transformer.axes import has_numbers
from transformer.decoding import DecodingConfig
from transformer.errors import find_row, problem, unknown, warn, written


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A trained model in its working directory; a notebook shows its scores, curves and attention.

    Attributes:
        trained: the experiment with the parameters of one checkpoint.
    """

    trained: TrainedExperiment

    @property
    def model(self) -> Model:
        """The model, whose `apply`, `start` and `step` take `params`."""
        return self.trained.experiment.model

    @property
    def params(self) -> Any:
        """The parameters that are evaluated: the average where there is one; a nested dict of float32 arrays."""
        return self.trained.params

    @property
    def task(self) -> Task:
        """The task with its data, if it was read: `task.splits.train`, `.validation` and `.test` are its examples."""
        return self.trained.experiment.task

    @property
    def tokenizers(self) -> TokenizerPair:
        """The tokenizers: `source` and `target`, which may be one."""
        return self.task.tokenizers

    @property
    def config(self) -> Config:
        """The resolved settings, with what the data determined."""
        return self.trained.experiment.config

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: `step`, `split`, `seconds` and the metrics by name, the oldest first."""
        return metrics.read(self.workdir)

    @property
    def workdir(self) -> Path:
        """The working directory."""
        return self.trained.workdir

    @property
    def step(self) -> int:
        """The number of updates after which the parameters were saved."""
        return self.trained.step

    @in_python
    def predict(
        self, texts: Sequence[str], *, seed: int | None = None, **decoding: Any
    ) -> list[generation.Answer] | list[generation.Label]:
        """Answer texts: an answer, a continuation, filled gaps, or of a classifier a label.

        Args:
            texts: the texts, of which there may be none; a language model continues one, or fills each <mask> in it.
            seed: seed of sampling; None: the run's.
            **decoding: settings of section `decoding`, such as strategy, max_new_tokens, width, constraint; None or
                absent: the run's.

        Returns:
            For each text an Answer (text, tokens, ids, score) or a Label (label, probabilities).

        Raises:
            UserError: a text that the model cannot read, or a setting that is unknown or not read.

        >>> run.predict(["3 March 2024"])[0].text  # doctest: +SKIP
        '2024-03-03'
        """
        leaves = schema.settings(DecodingConfig)
        for name in decoding:
            if name not in leaves:
                raise unknown("setting of decoding", name, leaves)
        given = {
            name: schema.checked(value, find_row("setting", leaves, name))
            for name, value in decoding.items()
            if value is not None
        }
        seed = None if seed is None else schema.checked(plain(seed), find("seed"))
        return generation.predict(self.trained, _texts(texts), given, seed, warn=Reporter().remark)

    @in_python
    def evaluate(self, split: str | None = None, *, examples: int | None = None) -> dict[str, Value]:
        """Compute the scores on a split, each with its 95 % interval.

        Shares of answers and labels have Wilson's interval; means over tokens have one over texts (of language
        modelling: over windows); BLEU and chrF have none: low and high are None.

        Args:
            split: "train", "validation" or "test"; None: test, or validation without one.
            examples: number of examples, the first of the split; None: all.

        Raises:
            UserError: an unknown or empty split, or a run that was opened without its data.

        >>> run.evaluate("test")["exact_match"]  # doctest: +SKIP
        Value(value=0.99, low=0.984, high=0.993, count=2000)
        """
        if self.task.plan is None:
            what, do = "the run was opened without its data", "Open it with read_data=True."
            raise problem(what, got="read_data=False", expected="a run with its splits", do=do)
        if split is not None and split not in scoring.SPLITS:
            raise unknown("split", str(split), scoring.SPLITS)
        if examples is not None and (isinstance(examples, bool) or not isinstance(examples, int) or examples < 1):
            expected, do = "1 or more, or None for all", "Leave it out for all."
            raise problem("examples is out of range", got=written(examples), expected=expected, do=do)
        return scoring.evaluate(self.trained, scoring.held_out(self.task, split, examples)[1])

    @in_python
    def capture(self, texts: Sequence[str], names: Sequence[str]) -> list[dict[str, capturing.Activation]]:
        """Compute activations while the model reads each text and its own answer to it.

        Args:
            texts: the texts.
            names: such as "decoder.*.cross.weights"; see `experiments.runs.capturing` for the axes of each.

        Returns:
            For each text: name -> Activation (array, axes, tokens), where tokens labels its axes T and S.

        Raises:
            UserError: an unknown activation, or a text that the model cannot read.

        >>> weights = run.capture(["3 March 2024"], ["decoder.*.cross.weights"])[0]  # doctest: +SKIP
        """
        if isinstance(names, str):
            raise problem("names is one text", got=repr(names), expected="a list of names", do=f"Write [{names!r}].")
        if not isinstance(names, Iterable) or not list(names):
            do = 'Write, for instance, ["decoder.*.self.weights"].'
            raise problem("no activation is named", got=written(names), expected="a list of names", do=do)
        texts = _texts(texts)
        self.trained.check(texts, warn=Reporter().remark)
        return capturing.capture(self.trained, texts, names)

    @in_python
    def draw_attention(self, text: str | None = None, layer: int = -1) -> Figure:
        """Draw the attention weights of the answer to a text, one panel a head.

        Args:
            text: the text; None: an example of the held-out data.
            layer: index of the layer; negative: counted from the end.

        Raises:
            UserError: no such layer, no attention, or no text that fits.
        """
        drawing.check_layer(self.model, layer)
        text = example_text(self.trained.experiment) if text is None else text
        if text is None:
            raise problem(NO_EXAMPLE, do="Give a text.")
        if not isinstance(text, str):
            got, do = f"{written(text)} ({type(text).__name__})", 'Write, for instance, draw_attention("a text").'
            raise problem("text is not one text", got=got, expected="one text, or None for an example", do=do)
        self.trained.check([text], warn=Reporter().remark)
        return drawing.attention_figure(self.trained, text, answer_text(self.trained, text)[0], layer)

    @in_python
    def draw_curves(self) -> Figure:
        """Draw the learning curves of the loss and of the score that selects the best checkpoint."""
        return drawing.curves_figure(self.trained)

    def __repr__(self) -> str:
        config = self.config
        steps = f"step {self.step} of {config.training.steps}"
        return f"Run: {config.model.architecture} on {config.task.name}, {steps}, in {self.workdir}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the scores, the curves and the attention of an example in a notebook."""
        pictures = [drawing_of(draw) for draw in (self.draw_curves, self.draw_attention)]
        table = to_html(scores_table(self.task, self.workdir, repr(self)))
        return {"text/plain": repr(self), "text/html": table + "".join(filter(None, pictures))}


def drawing_of(draw: Callable[[], Figure]) -> str | None:
    """Draw a picture as an element of HTML; warn and return None where that fails, since all else is still shown."""
    try:
        data = io.BytesIO()
        draw().savefig(data, format="png", dpi=100)
    except Exception as error:
        warn(f"no picture: {type(error).__name__}: {error}")
        return None
    return f'<img src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def _texts(texts: Any) -> list[str]:
    """Return the texts as a list; raise a UserError for one text, or for what is no text."""
    if isinstance(texts, str):
        raise problem("texts is one text", got=written(texts), expected="a list of texts", do="Write [text].")
    if not isinstance(texts, Iterable):
        got = f"{written(texts)} ({type(texts).__name__})"
        raise problem("texts is no list", got=got, expected="a list of texts", do="Write [text].")
    texts = list(texts)
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            got = f"{written(text)} ({type(text).__name__})"
            do = f"Write {str(text)!r}." if has_numbers(text) else "Give texts alone."
            raise problem(f"text {number} is no text", got=got, expected="str", do=do)
    return texts
