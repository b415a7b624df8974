"""What a search recommends by the loss on held-out noise: how many neurons, and how strongly."""

import logging
import math
from collections.abc import Callable, Sequence

from torch import Tensor

from cones.errors import ConesError
from cones.progress import Figures, OnProgress
from cones.search.objective import ImplantingLoss

log = logging.getLogger("cones")

ENOUGH = 0.95  # of the greatest gain
STRENGTHS = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
# On development subjects half as much again as the loop's strength drew the subject far better and
# followed the prompts as well; twice as much no longer did.
OVERSHOOT = 1.5
KEPT = 0.4  # of the gain

Choice = Callable[[int], Tensor]  # how many neurons -> their positions


def held_out(objective: ImplantingLoss, chosen: Tensor, strength: float) -> Figures:
    """Both losses on held-out noise with the chosen positions shut."""
    weights = objective.theta.clone()
    weights[chosen] *= 1 - strength
    return objective.held_out(weights)


def _total(objective: ImplantingLoss, losses: Figures) -> float:
    """L_con, or infinity where it is not finite."""
    total = losses["subject"] + objective.config.prior_weight * losses["prior"]
    return total if math.isfinite(total) else math.inf


def _before(objective: ImplantingLoss, losses: Figures) -> float:
    """L_con of the unchanged model; gains over infinity could not be ranked."""
    total = _total(objective, losses)
    if total == math.inf:
        raise ConesError(
            "search: the loss is NaN or infinite with nothing shut; use --mixed_precision no, and "
            "check the base model"
        )
    return total


def _told(losses: Figures) -> dict[str, float | None]:
    """Losses for a report: None where one is not finite, as JSON has no number for it."""
    return {name: loss if math.isfinite(loss) else None for name, loss in losses.items()}


def least_needed(
    objective: ImplantingLoss,
    choice: Choice,
    counts: Sequence[int],
    strength: float,
    on_progress: OnProgress | None = None,
) -> int:
    """The fewest neurons that lower L_con on held-out noise by `ENOUGH` of what the best do.

    Args:
        objective: the loss.
        choice: gives the positions of so many neurons.
        counts: the numbers to try.
        strength: of the shutting.
        on_progress: called with ("try densities", done, total, {}).

    Raises:
        ConesError: the loss of the unchanged model is not finite.
    """
    before = _before(objective, objective.held_out(objective.theta))
    gains: dict[int, float] = {}
    for done, count in enumerate(counts, 1):
        gains[count] = before - _total(objective, held_out(objective, choice(count), strength))
        if on_progress is not None:
            on_progress("try densities", done, len(counts), {})
    best = max(gains.values())
    return min(count for count, gain in gains.items() if gain == best or gain >= ENOUGH * best)


def line_search(
    objective: ImplantingLoss,
    chosen: Tensor,
    in_loop: float = 1.0,
    on_progress: OnProgress | None = None,
) -> tuple[float, dict[str, object]]:
    """The strength to draw with.

    The loss itself is least at about the strength of the loop, and pictures there show the subject
    too weakly. So it is the greatest strength, up to `OVERSHOOT` times that of the loop, which
    keeps `KEPT` of the greatest gain in L_con on held-out noise.

    Args:
        objective: the loss.
        chosen: positions of the neurons.
        in_loop: the strength that they were found with.
        on_progress: called with ("try strengths", done, total, {}).

    Returns:
        The strength, and a report: the losses "before" (nothing shut), "after" (at that strength)
        and at all "strengths".

    Raises:
        ConesError: no strength gives a finite loss.
    """
    tried: dict[float, Figures] = {}
    for strength in (0.0, *STRENGTHS):
        tried[strength] = held_out(objective, chosen, strength)
        if on_progress is not None:
            on_progress("try strengths", len(tried), 1 + len(STRENGTHS), {})
    totals = {strength: _total(objective, losses) for strength, losses in tried.items()}
    before = _before(objective, tried[0.0])
    del totals[0.0]
    best = min(totals, key=totals.__getitem__)
    if totals[best] == math.inf:
        raise ConesError(
            "search: the loss with the neurons shut is NaN or infinite at every strength; use "
            "--mixed_precision no, or a smaller --density"
        )
    enough = before - KEPT * (before - totals[best])
    good = [s for s in STRENGTHS if s <= OVERSHOOT * in_loop and totals[s] <= enough]
    if not totals[best] < before:
        log.warning(
            "the neurons found do not lower the loss on held-out noise at any strength; search "
            "with more steps, another density or clearer photographs"
        )
    found = max(good) if good and totals[best] < before else best
    strengths = {f"{strength:g}": _told(losses) for strength, losses in tried.items()}
    return found, {"before": tried[0.0], "after": tried[found], "strengths": strengths}
