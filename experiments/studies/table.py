"""The studies: a new one is a file and a row."""

from experiments.studies.ablation import ABLATION
from experiments.studies.cache import CACHE
from experiments.studies.calibration import CALIBRATION
from experiments.studies.cost import COST
from experiments.studies.dependence import DEPENDENCE
from experiments.studies.distance import DISTANCE
from experiments.studies.frame.claim import Study
from experiments.studies.gradient_path import GRADIENT_PATH
from experiments.studies.heads import HEADS
from experiments.studies.induction import INDUCTION
from experiments.studies.ladder import LADDER, TRANSLATION
from experiments.studies.lengths import LENGTHS
from experiments.studies.match import MATCH
from experiments.studies.norms import NORMS_STUDY
from experiments.studies.padding import PADDING
from experiments.studies.permutation import PERMUTATION
from experiments.studies.positions import POSITIONS
from experiments.studies.prefixes import PREFIXES
from experiments.studies.qkv import QKV
from experiments.studies.rank import RANK
from experiments.studies.recall import RECALL
from experiments.studies.rotary import ROTARY
from experiments.studies.scaling import SCALING
from experiments.studies.scores import SCORING
from experiments.studies.self_and_cross import SELF_AND_CROSS
from experiments.studies.sinusoids import SINUSOIDS
from experiments.studies.symmetry import SYMMETRY
from experiments.studies.tying import TYING
from experiments.studies.warmup import WARMUP

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
    "symmetry": SYMMETRY,
    "rank": RANK,
    "gradient_path": GRADIENT_PATH,
    "rotary": ROTARY,
    "match": MATCH,
    "cache": CACHE,
    "cost": COST,
    "recall": RECALL,
    "induction": INDUCTION,
    "lengths": LENGTHS,
    "warmup": WARMUP,
    "qkv": QKV,
    "calibration": CALIBRATION,
    "tying": TYING,
    "ladder": LADDER,
    "translation": TRANSLATION,
    "ablation": ABLATION,
}
