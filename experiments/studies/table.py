"""The studies: a new one is a file and a row."""

from experiments.studies.ablation import ABLATION
from experiments.studies.dependence import DEPENDENCE
from experiments.studies.distance import DISTANCE
from experiments.studies.frame.claim import Study
from experiments.studies.heads import HEADS
from experiments.studies.ladder import LADDER, TRANSLATION
from experiments.studies.norms import NORMS_STUDY
from experiments.studies.padding import PADDING
from experiments.studies.permutation import PERMUTATION
from experiments.studies.positions import POSITIONS
from experiments.studies.prefixes import PREFIXES
from experiments.studies.scaling import SCALING
from experiments.studies.scores import SCORING
from experiments.studies.self_and_cross import SELF_AND_CROSS
from experiments.studies.sinusoids import SINUSOIDS

STUDIES: dict[str, Study] = {
    "scaling": SCALING,
    "permutation": PERMUTATION,
    "sinusoids": SINUSOIDS,
    "positions": POSITIONS,
    "prefixes": PREFIXES,
    "padding": PADDING,
    "heads": HEADS,
    "norms": NORMS_STUDY,
    "self_and_cross": SELF_AND_CROSS,
    "scores": SCORING,
    "distance": DISTANCE,
    "dependence": DEPENDENCE,
    "ladder": LADDER,
    "translation": TRANSLATION,
    "ablation": ABLATION,
}
