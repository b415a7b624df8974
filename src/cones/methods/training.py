"""The training loop of the gradient methods: L_con over what each of them trains.

As in the public training scripts: AdamW with a constant rate after a short warm-up, gradients
clipped to norm 1, the noise or velocity as the target of both terms, and images of the class
(drawn by the model itself) as the prior. The model's own weights are never changed.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import Tensor

from cones.errors import ConesError
from cones.methods.method import WARM_UP, RivalConfig
from cones.methods.trainable import Trainable, check_trainable, text_states
from cones.methods.trained_weights import TunedWeights
from cones.models.backbone import Backbone, check_differentiable
from cones.models.families import Conditioning
from cones.neurons.concept_neurons import BaseInfo
from cones.neurons.phrases import fill
from cones.neurons.shutting import base_fingerprint
from cones.progress import Figures, OnProgress
from cones.search import loss
from cones.search.batches import held_out_steps, step_generator
from cones.search.objective import check_subjects
from cones.search.prior import ClassImages, all_class_images
from cones.subjects.subject import TEMPLATES, Batch, Examples, Subject, joined

MAX_NORM = 1.0  # of the gradient

Stops = Mapping[int, Callable[[TunedWeights], object]]


@dataclass(frozen=True)
class _Part:
    """Examples of one subject or one class.

    Attributes:
        examples: latents and the states of `texts`.
        texts: the prompt of each row of the states.
        count: samples in a step.
    """

    examples: Examples
    texts: list[str]
    count: int


class Training:
    """The loss of one subject or several as a function of what is trained, and its descent."""

    def __init__(
        self,
        backbone: Backbone,
        subjects: Subject | Sequence[Subject],
        config: RivalConfig,
        class_images: ClassImages | None = None,
        on_progress: OnProgress | None = None,
        stops: Stops | None = None,
    ) -> None:
        """Encode photographs and prompts, and let the model draw the class where needed.

        Args:
            backbone: the frozen model.
            subjects: one or several; each is in every batch.
            config: how to train.
            class_images: images of a class, by its noun; the model draws those that are missing.
            on_progress: called with (stage, done, total, figures).
            stops: what to call with the artifact after so many steps: the one that a fit of so many
                steps would give.

        Raises:
            InputError: no subject, a token twice, or one that cannot carry a subject; or the model
                is no Stable Diffusion 1 or 2.
        """
        check_trainable(backbone)
        self.backbone, self.config, self.on_progress = backbone, config, on_progress
        self._stops = stops or {}
        self.subjects = [subjects] if isinstance(subjects, Subject) else list(subjects)
        check_subjects(backbone, self.subjects)
        check_differentiable(backbone)
        self._parts = [
            _Part(Examples.of_subject(backbone, subject), subject.prompts(), config.batch)
            for subject in self.subjects
        ]
        self._of_subjects = config.batch * len(self.subjects)
        if config.prior_batch:
            self._parts += self._priors(class_images or {})

    def _priors(self, given: ClassImages) -> list[_Part]:
        config = self.config
        images = all_class_images(
            self.backbone, self.subjects, given, config.prior_images, config.seed, self.on_progress
        )
        parts = []
        for noun in (subject.class_noun for subject in self.subjects):
            texts = [fill(template, noun) for template in TEMPLATES]
            examples = Examples.of(self.backbone, images[noun], [texts] * len(images[noun]))
            parts.append(_Part(examples, texts, config.prior_batch))
        return parts

    def fit(self, method: str, trainable: Trainable) -> TunedWeights:
        """Train, in place.

        Args:
            method: the artifact's.
            trainable: the copies to train.

        Raises:
            ConesError: the loss or its gradient became NaN or infinite.
        """
        inner = copy.copy(self)
        inner.backbone = trainable.adapted or self.backbone
        before = inner.held_out(trainable)

        def artifact(steps: int) -> TunedWeights:
            report = {"before": before, "after": inner.held_out(trainable)}
            return self._artifact(method, replace(self.config, steps=steps), report, trainable)

        for done in inner._descend(trainable):
            if stop := self._stops.get(done):
                stop(artifact(done))
        return artifact(self.config.steps)

    def _descend(self, trainable: Trainable) -> Iterator[int]:
        """Take one step after the other, and tell how many are done."""
        config, trained = self.config, trainable.all()
        optimiser = torch.optim.AdamW(trained, lr=config.rate)
        for step in range(config.steps):
            optimiser.param_groups[0]["lr"] = config.rate * min(1.0, (step + 1) / WARM_UP)
            optimiser.zero_grad()
            figures, total = self.backbone.call_with(
                trainable.unet, partial(self._differentiated, trainable, step)
            )
            for each in trained:
                if each.grad is not None:
                    each.grad /= loss.LOSS_SCALE
            norm = torch.nn.utils.clip_grad_norm_(trained, MAX_NORM)
            if not math.isfinite(total.item()) or not torch.isfinite(norm):
                raise ConesError(
                    f"training: the loss or its gradient became NaN or infinite at step {step + 1} "
                    f"of {config.steps}; use a smaller --rate, or --mixed_precision no"
                )
            optimiser.step()
            if self.on_progress is not None:
                self.on_progress("train", step + 1, config.steps, figures)
            yield step + 1

    @torch.no_grad()
    def held_out(self, trainable: Trainable) -> Figures:
        """The mean losses on noise that no step of the training sees."""
        found = self.backbone.call_with(
            trainable.unet, lambda: [self._loss(trainable, step)[0] for step in held_out_steps()]
        )
        return {key: sum(each[key] for each in found) / len(found) for key in found[0]}

    def _differentiated(self, trainable: Trainable, step: int) -> tuple[Figures, Tensor]:
        """`_loss`, and the copies have its gradient times `loss.LOSS_SCALE`."""
        figures, total = self._loss(trainable, step)
        (total * loss.LOSS_SCALE).backward()  # type: ignore[no-untyped-call]
        return figures, total

    def _loss(self, trainable: Trainable, step: int) -> tuple[Figures, Tensor]:
        """The losses of a step, by a denoiser that computes with the copies already."""
        batch = self._batch(trainable, step)
        prediction = loss.predict(self.backbone, batch)
        error = loss.squared_error(prediction, loss.target(self.backbone, batch))
        subject, prior = error[: self._of_subjects], error[self._of_subjects :]
        if not len(prior):
            return {"subject": subject.mean().item()}, subject.mean()
        figures = {"subject": subject.mean().item(), "prior": prior.mean().item()}
        return figures, loss.concept_loss(subject, prior, self.config.prior_weight)

    def _batch(self, trainable: Trainable, step: int) -> Batch:
        """Samples of every subject, then of every class, with a gradient to what is trained."""
        generator = step_generator(self.config.seed, step)
        states = [part.examples.states for part in self._parts]
        if trainable.embeddings or trainable.text_encoder:
            texts = [text for part in self._parts for text in part.texts]
            encoded = text_states(
                self.backbone, texts, trainable.embeddings, trainable.text_encoder
            )
            split = torch.split(encoded, [len(part.texts) for part in self._parts])
            states = [Conditioning(each) for each in split]
        return joined(
            [
                replace(part.examples, states=each).draw(
                    part.count, self.backbone.timesteps, generator
                )
                for part, each in zip(self._parts, states, strict=True)
            ]
        )

    def _artifact(
        self,
        method: str,
        config: RivalConfig,
        report: Mapping[str, Figures],
        trainable: Trainable,
    ) -> TunedWeights:
        """The copies as they are now."""
        backbone = self.backbone
        return TunedWeights(
            method,
            tuple(each.info for each in self.subjects),
            BaseInfo(backbone.name, base_fingerprint(backbone)),
            trainable.embeddings,
            trainable.weights(),
            trainable.factors(trainable.unet) if trainable.factors else {},
            {
                "config": json.dumps(asdict(config), sort_keys=True),
                "seed": str(config.seed),
                **backbone.provenance(),
                "report": json.dumps(report, sort_keys=True),
            },
        )
