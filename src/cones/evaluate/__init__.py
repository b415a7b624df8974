"""How well concept neurons work: features, metrics, named protocols, and the evaluation itself."""

from cones.evaluate.evaluation import Trial, evaluate
from cones.evaluate.features import ClipFeatures, Features
from cones.evaluate.precision import PrecisionRow, compare_precisions
from cones.evaluate.protocol import GENERAL_PROMPTS, PROMPTS, TOYBOX_1, Protocol
from cones.evaluate.scores import Evaluation, Scores, score

__all__ = [
    "GENERAL_PROMPTS",
    "PROMPTS",
    "TOYBOX_1",
    "ClipFeatures",
    "Evaluation",
    "Features",
    "PrecisionRow",
    "Protocol",
    "Scores",
    "Trial",
    "compare_precisions",
    "evaluate",
    "score",
]
