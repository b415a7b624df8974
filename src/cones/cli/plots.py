"""The figures that commands draw, and how they are saved."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from cones.sampling.pictures import KIND
from cones.text import printable

if TYPE_CHECKING:
    from cones.neurons.overlap import JointOverlap, PairOverlap
    from cones.neurons.overlap_count import OverlapCount
    from cones.sampling.attention import AttentionMaps

DPI = 150
MAX_LABEL = 40  # characters
MAX_SIDE = 100.0  # inches: matplotlib draws at most 65,536 pixels


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as a PNG file of a `kind`, see `cones.sampling.pictures.png_bytes`."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={KIND: kind})
    return buffer.getvalue()


def attention_figure(rows: "Mapping[str, AttentionMaps]") -> Figure:
    """A row for each label: its picture, then the map of each word, scaled up to the picture.

    Args:
        rows: label -> maps of one prompt and one resolution. A column has one scale of colours,
            from the least to the greatest of its values in all rows.
    """
    first = next(iter(rows.values()))
    columns = 1 + len(first.tokens)
    figure = Figure(figsize=(0.4 + 1.3 * columns, 0.4 + 1.4 * len(rows)), layout="constrained")
    places = figure.subplots(len(rows), columns, squeeze=False)
    for place, title in zip(places[0], ("picture", *first.tokens), strict=True):
        place.set_title(_label(title), fontsize=11)
    for line, (label, maps) in zip(places, rows.items(), strict=True):
        line[0].set_ylabel(_label(label), fontsize=11)
        line[0].imshow(maps.image)
        for number, place in enumerate(line[1:]):
            values = [each.maps[number] for each in rows.values()]
            limits = {
                "vmin": min(float(value.min()) for value in values),
                "vmax": max(float(value.max()) for value in values),
            }
            width, height = maps.image.size
            place.imshow(
                maps.maps[number].numpy(),
                extent=(0, width, height, 0),
                interpolation="bicubic",
                cmap="inferno",
                **limits,
            )
        for place in line:
            place.set(xticks=[], yticks=[])
    return figure


def overlap_figure(
    names: Sequence[str],
    pairs: "Sequence[PairOverlap]",
    groups: "Mapping[str, OverlapCount]",
    joint: "JointOverlap | None" = None,
) -> Figure:
    """Each two sets' overlap over chance, that of each group of layers, and the joint search.

    Args:
        names: of the sets.
        pairs: of `cones.neurons.overlap.pairwise`.
        groups: of `cones.neurons.overlap.grouped`.
        joint: of `cones.neurons.overlap.compared_with_joint`.
    """
    panels = 2 if joint is None else 3
    side = min(2.2 + 0.7 * len(names), MAX_SIDE)
    widths = [side, 1.5 + 0.55 * len(groups), 3.2][:panels]
    figure = Figure(figsize=(sum(widths), max(side, 3.4)), layout="constrained")
    places = figure.subplots(1, panels, width_ratios=widths)
    _matrix(places[0], names, pairs)
    _bars(places[1], groups)
    if joint is not None:
        _joint(places[2], joint)
    return figure


def _matrix(place: Any, names: Sequence[str], pairs: "Sequence[PairOverlap]") -> None:
    count = len(names)
    values = [[float("nan")] * count for _ in names]
    cells = [(a, b) for a in range(count) for b in range(a + 1, count)]
    ratios = [pair.ratio for pair in pairs]
    top = max([2.0, *(ratio for ratio in ratios if ratio is not None)])
    for (a, b), ratio in zip(cells, ratios, strict=True):
        for y, x in ((a, b), (b, a)):
            values[y][x] = float("nan") if ratio is None else ratio
            text, dark = ("-", False) if ratio is None else (f"{ratio:.2f}", ratio < top / 2)
            place.text(x, y, text, ha="center", va="center", color="white" if dark else "black")
    place.imshow(values, cmap="viridis", vmin=0, vmax=top)
    labels = [_label(name) for name in names]
    place.set_xticks(range(count), labels, rotation=30, ha="right")
    place.set_yticks(range(count), labels)
    place.set_title("shared neurons over chance", fontsize=10)


def _bars(place: Any, groups: "Mapping[str, OverlapCount]") -> None:
    shown = {name: shared for name, shared in groups.items() if shared.ratio is not None}
    at = range(len(shown))
    place.bar(at, [shared.ratio for shared in shown.values()], color="tab:blue")
    noise = [2 * shared.deviation / shared.expected for shared in shown.values()]
    place.errorbar(at, [1] * len(shown), noise, fmt="none", ecolor="black", capsize=4, linewidth=1)
    place.set_xticks(at, [_label(name) for name in shown])
    place.axhline(1, color="black", linewidth=1, linestyle="--")
    place.tick_params(axis="x", labelrotation=60)
    place.set_title("by layers; dashed: chance ± 2 sd", fontsize=10)


def _joint(place: Any, joint: "JointOverlap") -> None:
    found = [joint.of_joint, joint.of_union]
    chance = [joint.of_joint_expected, joint.of_union_expected]
    labels = ["joint's neurons\nin the union", "union's neurons\nin the joint's"]
    place.bar([0, 1], found, width=0.4, color="tab:blue", label="found")
    place.bar([0.4, 1.4], chance, width=0.4, color="tab:gray", label="by chance")
    place.set_xticks([0.2, 1.2], labels, fontsize=8)
    place.set_ylim(0, 1)
    place.legend(fontsize=8)
    place.set_title("union and joint search", fontsize=10)


def _label(text: str) -> str:
    """A name as it stands in a figure: short, and no formula."""
    return printable(text, MAX_LABEL).replace("$", r"\$")
