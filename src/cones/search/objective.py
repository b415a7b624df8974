"""The concept-implanting loss of one subject or of several, as a function of the weights alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from cones.distributed import ALONE, Processes
from cones.errors import InputError
from cones.models.backbone import Backbone, check_backbone, check_differentiable
from cones.neurons.blocks import Block
from cones.neurons.projections import Layers, parameters, projections, shapes
from cones.neurons.tokens import check_distinct_tokens
from cones.progress import Figures, OnProgress
from cones.search import loss
from cones.search.loop import Losses
from cones.search.prior import DrawnImages, all_class_images, prior_examples
from cones.subjects.subject import Batch, Examples, Subject, joined

HELD_OUT = 1_000_000  # step numbers of the batches that no search sees begin here
HELD_OUT_BATCHES = 4  # for each subject
PRIOR = 500_000  # step numbers of the prior's batches begin here
PRIOR_BATCHES = 16  # different ones, for each subject
GRAM_BATCHES = 8  # for each subject
LOSS_SCALE = 2.0**12  # a power of two: exact, and float16 gradients do not vanish

ClassImages = Mapping[str, Sequence[Image.Image]]


class LossConfig(Protocol):
    """What a configuration says about the loss; see `cones.search.find.FindConfig`."""

    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def prior_batch(self) -> int: ...  # noqa: D102
    @property
    def prior_weight(self) -> float: ...  # noqa: D102
    @property
    def distill(self) -> bool | None: ...  # noqa: D102
    @property
    def prior_images(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> Layers: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Sample:
    """What the loss is computed on in one step, or this process's share of it.

    Attributes:
        batch: the subject's samples, then those of the prior.
        wanted: what the model should say on each, float32, like the latents.
        subject: how many are the subject's.
        sizes: samples of the subject and of the prior in all processes together.
    """

    batch: Batch
    wanted: Tensor
    subject: int
    sizes: tuple[int, int]


class ImplantingLoss:
    """L_con and its gradient as functions of the weights in question; the model is not touched.

    Several subjects take their turns: step k is about subject k modulo their number. Several
    processes share the samples of each step; losses and gradients are those of all of them.
    """

    def __init__(
        self,
        backbone: Backbone,
        subjects: Sequence[Examples],
        priors: Sequence[Examples],
        config: LossConfig,
        processes: Processes = ALONE,
    ) -> None:
        """Lays the weights end to end and keeps each subject's examples and prior."""
        self.backbone, self.subjects, self.priors, self.config = backbone, subjects, priors, config
        self.processes = processes
        self._asked: dict[int, tuple[Batch, Tensor]] = {}
        with Block(backbone):
            weights = projections(backbone, config.layers)
            self.shapes = shapes(weights)
            self.theta = torch.cat([w.detach().float().flatten() for w in weights.values()])

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        subjects: Sequence[Subject],
        config: LossConfig,
        class_images: ClassImages | None = None,
        on_progress: OnProgress | None = None,
        processes: Processes = ALONE,
        drawn: DrawnImages | None = None,
    ) -> "ImplantingLoss":
        """Encodes photographs and prompts, and lets the model draw what the prior needs.

        Args:
            backbone: the frozen model.
            subjects: one or several.
            config: sizes of the batches, the prior, the seed.
            class_images: images of a class, by its noun; the model draws those that are missing.
            on_progress: called with (stage, done, total, figures).
            processes: those that share the samples; each draws the same images of the class, which
                takes no longer than waiting for them.
            drawn: images of classes that were drawn before; to it are added those drawn here.

        Raises:
            InputError: no subject, a token twice, or one that cannot carry a subject; or more
                processes than samples.
        """
        check_subjects(backbone, subjects)
        check_differentiable(backbone)
        if (samples := config.batch + config.prior_batch) < processes.world:
            raise InputError(
                f"batch: a step of {samples} samples cannot be shared by {processes.world} "
                "processes; launch fewer, or use a larger --batch"
            )
        images = all_class_images(
            backbone,
            subjects,
            class_images or {},
            config.prior_images,
            config.seed,
            on_progress,
            drawn,
        )
        tokens = [subject.token for subject in subjects]
        priors = [
            prior_examples(
                backbone,
                subject,
                images[subject.class_noun],
                bool(config.distill),
                config.seed,
                on_progress,
                taken=tokens,
            )
            for subject in subjects
        ]
        examples = [Examples.of_subject(backbone, subject) for subject in subjects]
        return cls(backbone, examples, priors, config, processes)

    def sample(self, step: int) -> Sample:
        """What step number `step` computes on; every process draws it all and takes its share."""
        subject, prior = self._draw(self.subjects, self.config.batch, step), self._prior(step)
        subject = subject[self.processes.share()]
        wanted = torch.cat([loss.target(self.backbone, subject), prior[1]])
        sizes = self.config.batch, self.config.prior_batch
        return Sample(joined([subject, prior[0]]), wanted, len(subject), sizes)

    def _draw(self, examples: Sequence[Examples], count: int, step: int, first: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(self.config.seed * 2_000_003 + first + step)
        return examples[step % len(examples)].draw(count, self.backbone.timesteps, generator)

    def _prior(self, step: int) -> tuple[Batch, Tensor]:
        """The prior's samples of a step, and what the model should say on them.

        Distillation asks the base model, one more forward pass. So the same `PRIOR_BATCHES` batches
        return in turn, and each is asked about once.
        """
        distilled = bool(self.config.distill)
        if distilled and step < HELD_OUT:
            step %= PRIOR_BATCHES * len(self.subjects)
        if step in self._asked:
            return self._asked[step]
        prior = self._draw(self.priors, self.config.prior_batch, step, first=PRIOR)
        prior = prior[self.processes.share(after=self.config.batch)]
        ask = loss.own_prediction if distilled and len(prior) else loss.target
        found = prior, ask(self.backbone, prior)
        if distilled:
            self._asked[step] = found
        return found

    def unflatten(self, weights: Tensor) -> dict[str, Tensor]:
        """Weights laid end to end, `[N]` -> layer -> weight [out, in]."""
        parts = torch.split(weights, [rows * columns for rows, columns in self.shapes.values()])
        return {
            layer: part.view(shape)
            for (layer, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def errors(self, weights: Tensor | None, sample: Sample) -> tuple[Tensor, Tensor]:
        """Each sample's squared error, of the subject and of the prior.

        Args:
            weights: float32 `[N]`; None for those that the denoiser computes with now.
            sample: what to compute it on.
        """
        named = None if weights is None else self.unflatten(weights)
        prediction = loss.predict(self.backbone, sample.batch, named)
        error = loss.squared_error(prediction, sample.wanted)
        return error[: sample.subject], error[sample.subject :]

    def gradient(self, weights: Tensor, step: int) -> tuple[Losses, Tensor]:
        """Losses and dL_con/dtheta at `weights`, float32 `[N]`, on the batches of a step."""
        leaf = weights.detach().clone().requires_grad_()
        sample = self.sample(step)

        def differentiated() -> tuple[Tensor, Tensor]:
            subject, prior = (
                errors.sum() / size
                for errors, size in zip(self.errors(None, sample), sample.sizes, strict=True)
            )
            total = loss.concept_loss(subject, prior, self.config.prior_weight)
            (gradient,) = torch.autograd.grad(total * LOSS_SCALE, leaf)
            return torch.stack([subject, prior]).detach(), gradient

        found = self.backbone.call_with(parameters(self.unflatten(leaf)), differentiated)
        losses, gradient = self.processes.summed(*found)
        return {"subject": losses[0], "prior": losses[1]}, gradient / LOSS_SCALE

    @torch.no_grad()
    def grams(self, weights: Tensor) -> dict[str, Tensor]:
        """The sum of c c^T over what each projection reads, on the batches of the first steps.

        Returns:
            Layer -> float32 `[in, in]`; layers that read the same tensor share one.
        """
        network = self.backbone.denoiser
        read: dict[str, Tensor] = {}

        def reader(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            return lambda _, inputs: read.update({layer: inputs[0]})

        sums: dict[str, Tensor] = {}
        with Block(self.backbone), ExitStack() as hooks:
            for layer in self.shapes:
                read_by = network.get_submodule(layer).register_forward_pre_hook(reader(layer))
                hooks.callback(read_by.remove)
            for step in range(GRAM_BATCHES * len(self.subjects)):
                self.errors(weights, self.sample(step))
                first = {id(inputs): layer for layer, inputs in reversed(read.items())}
                for layer in first.values():
                    flat = read[layer].float().flatten(0, -2)
                    sums[layer] = sums.get(layer, 0) + flat.T @ flat
        grams = dict(zip(sums, self.processes.summed(*sums.values()), strict=True))
        return {layer: grams[first[id(read[layer])]] for layer in self.shapes}

    @cached_property
    def _held_out(self) -> list[tuple[int, Sample]]:
        """Each subject's number with a sample on noise that no step of a search sees."""
        count = len(self.subjects)
        steps = range(HELD_OUT, HELD_OUT + HELD_OUT_BATCHES * count)
        return [(step % count, self.sample(step)) for step in steps]

    @torch.no_grad()
    def held_out(self, weights: Tensor, number: int | None = None) -> Figures:
        """Both losses on noise that no step sees: the mean of all subjects, or that of one."""
        samples = [sample for owner, sample in self._held_out if number in (None, owner)]
        errors = zip(*(self.errors(weights, sample) for sample in samples), strict=True)
        (sums,) = self.processes.summed(torch.stack([torch.cat(each).sum() for each in errors]))
        sizes = torch.tensor([sample.sizes for sample in samples]).sum(0)
        subject, prior = (sums.cpu() / sizes).tolist()
        return {"subject": subject, "prior": prior}


def check_subjects(backbone: Backbone, subjects: Sequence[Subject]) -> None:
    """Refuses subjects that cannot be told apart or named.

    Raises:
        InputError: no subject, a token twice, or one that cannot carry a subject.
    """
    check_backbone(backbone)
    if not subjects:
        raise InputError("subjects: expected at least one, found none")
    for subject in subjects:
        if not isinstance(subject, Subject):
            raise InputError(
                f"subjects: expected each as a Subject, found a {type(subject).__name__}; make one "
                "with cones.Subject.from_folder"
            )
    for subject in subjects:
        backbone.check_token(subject.token, subject.class_noun)
    said = " ".join(subject.token for subject in subjects).casefold()
    free = [word for word in backbone.rare_tokens(16) if word not in said]
    remedy = f"give each its own with --token{f', such as {free[0]}' if free else ''}"
    with Block(backbone):
        check_distinct_tokens(subjects, backbone.family.tokenizers, remedy)
