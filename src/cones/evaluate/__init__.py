"""How well concept neurons work: features, metrics, named protocols, and the evaluation itself."""

from cones.evaluate.comparison import CompareConfig, Comparison
from cones.evaluate.evaluation import Trial, evaluate
from cones.evaluate.features import ClipFeatures, Features
from cones.evaluate.precision import PrecisionRow, compare_precisions
from cones.evaluate.protocol import GENERAL_PROMPTS, PROMPTS, TOYBOX, Protocol, named_protocol
from cones.evaluate.scores import Evaluation, Scorer, Scores
from cones.evaluate.table import compare

__all__ = [
    "GENERAL_PROMPTS",
    "PROMPTS",
    "TOYBOX",
    "ClipFeatures",
    "CompareConfig",
    "Comparison",
    "Evaluation",
    "Features",
    "PrecisionRow",
    "Protocol",
    "Scorer",
    "Scores",
    "Trial",
    "compare",
    "compare_precisions",
    "evaluate",
    "named_protocol",
]
