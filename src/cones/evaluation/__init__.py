"""How well concept neurons work: features, metrics, named protocols, and the evaluation itself."""

from cones.evaluation.evaluator import Evaluator, evaluate
from cones.evaluation.features import ClipFeatures, Features
from cones.evaluation.protocol import GENERAL_PROMPTS, PROMPTS, Protocol, named_protocol
from cones.evaluation.scores import Evaluation, Scorer, Scores

__all__ = [
    "GENERAL_PROMPTS",
    "PROMPTS",
    "ClipFeatures",
    "Evaluation",
    "Evaluator",
    "Features",
    "Protocol",
    "Scorer",
    "Scores",
    "evaluate",
    "named_protocol",
]
