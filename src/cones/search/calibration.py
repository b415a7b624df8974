"""Choices by the loss on held-out noise: how many neurons, and how strongly they are shut."""

import logging
import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from cones.errors import ConesError
from cones.progress import Figures, OnProgress
from cones.search.objective import ImplantingLoss
from cones.search.selection import Selector

log = logging.getLogger("cones")

ENOUGH_GAIN = 0.95  # of the greatest gain: as few neurons are chosen as give it
STRENGTHS = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
# On development subjects half as much again as the loop's strength drew the subject far better and
# followed the prompts as well; twice as much no longer did.
MAX_OVERSHOOT = 1.5
MIN_KEPT_GAIN = 0.4  # of the greatest gain


def held_out(objective: ImplantingLoss, positions: Tensor, strength: float) -> Figures:
    """Return both losses on held-out noise with some neurons shut.

    Args:
        objective: the loss.
        positions: of the neurons, int64.
        strength: of the shutting, from 0 (none) to 2.
    """
    weights = objective.theta.clone()
    weights[positions] *= 1 - strength
    return objective.held_out(weights)


def total_loss(objective: ImplantingLoss, losses: Figures) -> float:
    """Return L_con of both losses, or infinity where it is not finite."""
    total = losses["subject"] + objective.config.prior_weight * losses["prior"]
    return total if math.isfinite(total) else math.inf


def choose_count(
    objective: ImplantingLoss,
    select: Selector,
    counts: Sequence[int],
    strength: float,
    on_progress: OnProgress | None = None,
) -> int:
    """Return the fewest neurons that lower L_con on held-out noise nearly as far as the best do.

    Args:
        objective: the loss.
        select: gives the positions of so many neurons.
        counts: the numbers to try.
        strength: of the shutting.
        on_progress: called after each number, as "try densities".

    Raises:
        ConesError: the loss of the unchanged model is not finite.
    """
    before = _unchanged(objective, objective.held_out(objective.theta))
    gains: dict[int, float] = {}
    for done, count in enumerate(counts, 1):
        losses = held_out(objective, select(count), strength)
        gains[count] = before - total_loss(objective, losses)
        if on_progress is not None:
            on_progress("try densities", done, len(counts), {})
    best = max(gains.values())
    return min(c for c, gain in gains.items() if gain == best or gain >= ENOUGH_GAIN * best)


def choose_strength(
    objective: ImplantingLoss,
    positions: Tensor,
    in_loop: float = 1.0,
    on_progress: OnProgress | None = None,
) -> tuple[float, dict[str, object]]:
    """Return the strength to draw with.

    The loss itself is least at about the strength of the loop, and pictures there show the subject
    too weakly. So it is the greatest strength, up to `MAX_OVERSHOOT` times that of the loop, which
    keeps `MIN_KEPT_GAIN` of the greatest gain in L_con on held-out noise.

    Args:
        objective: the loss.
        positions: of the neurons, int64.
        in_loop: the strength that they were found with.
        on_progress: called after each strength, as "try strengths".

    Returns:
        The strength, and a report: the losses "before" (nothing shut), "after" (at that strength)
        and at all "strengths".

    Raises:
        ConesError: no strength gives a finite loss.
    """
    tried: dict[float, Figures] = {}
    for strength in (0.0, *STRENGTHS):
        tried[strength] = held_out(objective, positions, strength)
        if on_progress is not None:
            on_progress("try strengths", len(tried), 1 + len(STRENGTHS), {})
    before = _unchanged(objective, tried[0.0])
    totals = {strength: total_loss(objective, tried[strength]) for strength in STRENGTHS}
    found = _greatest_strength(before, totals, MAX_OVERSHOOT * in_loop)
    strengths = {f"{strength:g}": _json_losses(losses) for strength, losses in tried.items()}
    return found, {"before": tried[0.0], "after": tried[found], "strengths": strengths}


def _greatest_strength(before: float, totals: Mapping[float, float], limit: float) -> float:
    """Return the greatest strength that keeps enough of the gain, or that of the least loss.

    Args:
        before: L_con with nothing shut.
        totals: strength -> L_con.
        limit: the greatest strength that may be taken, unless the loss is least above it.
    """
    best = min(totals, key=totals.__getitem__)
    if totals[best] == math.inf:
        raise ConesError(
            "search: the loss with the neurons shut is NaN or infinite at every strength; use "
            "--mixed_precision no, or a smaller --density"
        )
    if not totals[best] < before:
        log.warning(
            "the neurons found do not lower the loss on held-out noise at any strength; search "
            "with more steps, another density or clearer photographs"
        )
        return best
    enough = before - MIN_KEPT_GAIN * (before - totals[best])
    good = [each for each, total in totals.items() if each <= limit and total <= enough]
    return max(good, default=best)


def _unchanged(objective: ImplantingLoss, losses: Figures) -> float:
    """Return L_con of the unchanged model; gains over infinity could not be ranked."""
    total = total_loss(objective, losses)
    if total == math.inf:
        raise ConesError(
            "search: the loss is NaN or infinite with nothing shut; use --mixed_precision no, and "
            "check the base model"
        )
    return total


def _json_losses(losses: Figures) -> dict[str, float | None]:
    """Return losses for a report: None where one is not finite, as JSON has no number for it."""
    return {name: loss if math.isfinite(loss) else None for name, loss in losses.items()}
