"""Custom Diffusion (arXiv 2212.04488): keys and values of the cross-attention, and the token.

All key and value projections of the text are trained densely, with the embedding of each token and
with images of the class as prior. As published the embedding starts as that of a rare token: the
token's own. (The public script's prior are real images; here the model draws them, its own
alternative.)

Several subjects are trained together, or fitted apart and put together by `merge`.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from cones.errors import InputError
from cones.methods.gradient import gradient_method
from cones.methods.method import RivalConfig
from cones.methods.trainable import (
    Trainable,
    embedding_of,
    padded_ids,
    text_states,
    trainable_copies,
    trainable_copy,
)
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone
from cones.neurons.blocks import Block
from cones.neurons.concept_neurons import BaseInfo, SubjectInfo
from cones.neurons.phrases import fill
from cones.neurons.projections import parameters, projections
from cones.neurons.shutting import base_fingerprint
from cones.neurons.tokens import check_distinct_tokens
from cones.search.prior import NOUNS, PLACES
from cones.subjects.subject import TEMPLATES, Subject

RIDGE = 1e-4  # of the mean square of the captions' states: where they do not span all directions

DEFAULTS = RivalConfig(steps=200, rate=3e-4)


def trainable(backbone: Backbone, subjects: Sequence[Subject], _: RivalConfig) -> Trainable:
    """The projections of the text, and the embedding of each subject's token."""
    with Block(backbone):
        return Trainable(
            embeddings={
                subject.token: trainable_copy(embedding_of(backbone, subject.token))
                for subject in subjects
            },
            unet=trainable_copies(parameters(projections(backbone))),
        )


def merge(artifacts: Sequence[TunedWeights], backbone: Backbone) -> TunedWeights:
    """Put subjects that were fitted apart together, in closed form (section 3.2 of the paper).

    Each projection becomes the one that, of all that map every subject's own words as its own fit
    does, changes least on captions of other things.

    Args:
        artifacts: each fitted by this method, in this model.
        backbone: the base model, with nothing applied.

    Raises:
        InputError: no artifact, one of another method, or a token of two of them.
        BaseModelError: one is of a model of another layout.
    """
    _check(artifacts)
    captions = [
        f"{template.format(noun)} {place}"
        for template, noun, place in product(TEMPLATES, NOUNS, PLACES)
    ]
    regular = backbone.encode_prompts(captions).states.flatten(0, 1).cpu().double()
    moments = regular.T @ regular
    moments += RIDGE * moments.diagonal().mean() * torch.eye(len(moments), dtype=moments.dtype)
    words = []
    for artifact in artifacts:
        with artifact.applied(backbone):  # which checks that it fits
            words.append(target_words(backbone, artifact.subjects))
    merged = {}
    with Block(backbone):
        originals = {
            layer: weight.detach().cpu().double() for layer, weight in projections(backbone).items()
        }
    for layer, weight in originals.items():
        name = f"unet.{layer}.weight"
        own = [artifact.weights[name].double() for artifact in artifacts]
        outputs = torch.cat([each @ W.T for each, W in zip(words, own, strict=True)])
        merged[name] = constrained(weight, torch.cat(words), outputs, moments)
    return TunedWeights(
        METHOD.name,
        tuple(subject for artifact in artifacts for subject in artifact.subjects),
        BaseInfo(backbone.name, base_fingerprint(backbone)),
        {token: row for artifact in artifacts for token, row in artifact.embeddings.items()},
        merged,
        info={"merged": " ".join(artifact.digest() for artifact in artifacts)},
    )


def target_words(backbone: Backbone, subjects: Sequence[SubjectInfo]) -> Tensor:
    """The paper's C: states of the words that name each subject, in its prompt.

    Returns:
        float64 `[words, width]`, on the CPU: "sks" and "robot" of "a photo of a sks robot".
    """
    states = []
    for subject in subjects:
        prompt = fill(TEMPLATES[0], subject.phrase)
        ids, words = padded_ids(backbone, [prompt])[0].tolist(), backbone.token_ids(subject.token)
        start, count = ids.index(words[0]), len(words) + len(backbone.token_ids(subject.class_noun))
        states.append(text_states(backbone, [prompt], {})[0, start : start + count])
    return torch.cat(states).detach().cpu().double()


def constrained(weight: Tensor, words: Tensor, outputs: Tensor, moments: Tensor) -> Tensor:
    """The paper's eq. 4: argmin_W |(W - W0) C_reg^T|_F with W C^T = V.

    W = W0 + v^T d, with d = C (C_reg^T C_reg)^-1 and v^T = (V^T - W0 C^T) (d C^T)^-1.

    Args:
        weight: W0, `[out, in]`.
        words: C, `[s, in]`, of rank s.
        outputs: V, `[s, out]`: what W is to make of C.
        moments: C_reg^T C_reg of the captions' states, `[in, in]`, positive definite.

    Returns:
        W, `[out, in]`.
    """
    d = torch.linalg.solve(moments, words.T).T
    missing = outputs.T - weight @ words.T
    v = torch.linalg.solve(d @ words.T, missing, left=False)
    merged: Tensor = weight + v @ d
    return merged


def _check(artifacts: Sequence[TunedWeights]) -> None:
    if not artifacts:
        raise InputError("merge: expected at least one artifact, found none")
    for artifact in artifacts:
        if artifact.method != METHOD.name:
            raise InputError(
                f"merge: expected artifacts of {METHOD.name}, found one of {artifact.method}; fit "
                "its subject with that method"
            )
    check_distinct_tokens(
        (subject for each in artifacts for subject in each.subjects),
        remedy="fit one of them again with another --token",
    )


METHOD = gradient_method("custom_diffusion", "Custom Diffusion", DEFAULTS, trainable)
