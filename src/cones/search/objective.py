"""The concept-implanting loss of one subject or of several, as a function of the weights alone."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from cones.distributed import ALONE, Processes
from cones.errors import InputError
from cones.models.backbone import Backbone, check_backbone, check_differentiable
from cones.neurons.blocks import Block
from cones.neurons.projections import Layers, parameters, projections, shapes
from cones.neurons.tokens import check_distinct_tokens
from cones.progress import Figures, OnProgress
from cones.search import loss
from cones.search.batches import Batches, StepBatch
from cones.search.config import FindConfig, TuneConfig
from cones.search.loop import Losses
from cones.search.prior import ClassImages, DrawnImages, all_class_images, prior_examples
from cones.subjects.subject import Examples, Subject

GRAM_BATCHES = 8  # for each subject


class ImplantingLoss:
    """L_con and its gradient as functions of the weights; the model is not touched.

    Losses and gradients are those of the samples of all processes together.

    Attributes:
        theta: the model's own weights, flattened and concatenated, float32 `[N]`.
        shapes: layer -> shape of its weight, in that order.
        batches: the samples of each step.
        config: sizes of the batches, lambda, the seed.
    """

    def __init__(self, batches: Batches, layers: Layers) -> None:
        """Flatten and concatenate the weights.

        Args:
            batches: the samples of each step.
            layers: which projections may be shut.
        """
        self.batches, self.backbone, self.config = batches, batches.backbone, batches.config
        with Block(self.backbone):
            weights = projections(self.backbone, layers)
            self.shapes = shapes(weights)
            self.theta = torch.cat([w.detach().float().flatten() for w in weights.values()])

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        subjects: Sequence[Subject],
        config: FindConfig | TuneConfig,
        layers: Layers = "all",
        class_images: ClassImages | None = None,
        on_progress: OnProgress | None = None,
        processes: Processes = ALONE,
        drawn: DrawnImages | None = None,
    ) -> "ImplantingLoss":
        """Encode photographs and prompts, and let the model draw what the prior needs.

        Args:
            backbone: the frozen model.
            subjects: one or several.
            config: sizes of the batches, the prior, the seed.
            layers: which projections may be shut.
            class_images: images of a class, by its noun; the model draws those that are missing.
            on_progress: called as images are drawn.
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
        return cls(Batches(backbone, examples, priors, config, processes), layers)

    @property
    def num_subjects(self) -> int:
        """How many subjects take turns."""
        return len(self.batches.subjects)

    def unflatten(self, weights: Tensor) -> dict[str, Tensor]:
        """Return a view of each layer's weight: `[N]` -> layer -> `[out, in]`."""
        parts = torch.split(weights, [rows * columns for rows, columns in self.shapes.values()])
        return {
            layer: part.view(shape)
            for (layer, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def errors(self, weights: Tensor | None, step: StepBatch) -> tuple[Tensor, Tensor]:
        """Return each sample's squared error, of the subject and of the prior, float32 `[n]`.

        Args:
            weights: float32 `[N]`; None for those that the denoiser computes with now.
            step: the samples.
        """
        layers = None if weights is None else self.unflatten(weights)
        prediction = loss.predict(self.backbone, step.batch, layers)
        error = loss.squared_error(prediction, step.target)
        return error[: step.num_subject], error[step.num_subject :]

    def gradient(self, weights: Tensor, step: int) -> tuple[Losses, Tensor]:
        """Return the losses and dL_con/dtheta at `weights` on the samples of a step.

        Args:
            weights: float32 `[N]`.
            step: its number, from 0.

        Returns:
            The losses by name, and the gradient, float32 `[N]`.
        """
        leaf = weights.detach().clone().requires_grad_()
        samples = self.batches.draw(step)

        def differentiate() -> tuple[Tensor, Tensor]:
            subject, prior = (
                errors.sum() / size
                for errors, size in zip(self.errors(None, samples), samples.sizes, strict=True)
            )
            total = loss.concept_loss(subject, prior, self.config.prior_weight)
            (gradient,) = torch.autograd.grad(total * loss.LOSS_SCALE, leaf)
            return torch.stack([subject, prior]).detach(), gradient

        found = self.backbone.call_with(parameters(self.unflatten(leaf)), differentiate)
        losses, gradient = self.batches.processes.summed(*found)
        return {"subject": losses[0], "prior": losses[1]}, gradient / loss.LOSS_SCALE

    @torch.no_grad()
    def grams(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the sum of c c^T over what each projection reads in the first steps.

        Args:
            weights: what the denoiser computes with meanwhile, float32 `[N]`.

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
            for step in range(GRAM_BATCHES * self.num_subjects):
                self.errors(weights, self.batches.draw(step))
                first = {id(inputs): layer for layer, inputs in reversed(read.items())}
                for layer in first.values():
                    flat = read[layer].float().flatten(0, -2)
                    sums[layer] = sums.get(layer, 0) + flat.T @ flat
        grams = dict(zip(sums, self.batches.processes.summed(*sums.values()), strict=True))
        return {layer: grams[first[id(read[layer])]] for layer in self.shapes}

    @torch.no_grad()
    def held_out(self, weights: Tensor, number: int | None = None) -> Figures:
        """Return both losses on noise that no step sees.

        Args:
            weights: float32 `[N]`.
            number: of the subject whose losses are wanted; None for the mean of all.
        """
        steps = [step for owner, step in self.batches.held_out if number in (None, owner)]
        errors = zip(*(self.errors(weights, step) for step in steps), strict=True)
        per_kind = torch.stack([torch.cat(each).sum() for each in errors])
        (sums,) = self.batches.processes.summed(per_kind)
        sizes = torch.tensor([step.sizes for step in steps]).sum(0)
        subject, prior = (sums.cpu() / sizes).tolist()
        return {"subject": subject, "prior": prior}


def check_subjects(backbone: Backbone, subjects: Sequence[Subject]) -> None:
    """Refuse subjects that cannot be told apart or named.

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
