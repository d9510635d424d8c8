"""Montages: truth and methods in three planes, with error maps, at one window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.pictures.planes import PLANES

__all__ = ["draw_montage"]

TILE = 1.9  # inches
ERROR_SCALE = 5.0
BRIGHTEST = 99.8  # percentile of the true slices that is shown white
DPI = 120
Planes = Mapping[str, np.ndarray]


def draw_montage(truth: Planes, columns: Sequence[tuple[str, Planes]], title: str, path: str | Path) -> Path:
    """Draw slices of the truth and of methods, and under each five times its absolute error.

    All pictures have the window of the truth: black is 0, white its 99.8th percentile. Axes run to the patient's right,
    to the front and up.

    Parameters
    ----------
    truth
        From :func:`mrrecon.pictures.planes.cut_planes`.
    columns
        Text above, and planes, of each method.
    title
        Above all.
    path
        PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {plane: np.asarray(truth[plane], np.float32) for plane in PLANES}
    top = float(np.percentile(np.concatenate([image.ravel() for image in shown.values()]), BRIGHTEST)) or 1.0
    sizes = {
        plane: [n * float(e) for n, e in zip(shown[plane].shape, truth[f"{plane}_edges"], strict=True)]
        for plane in PLANES
    }
    widest = max(size[0] for size in sizes.values())
    heights = [TILE * sizes[plane][1] / widest for plane in PLANES for _ in ("image", "error")]
    figure = Figure(figsize=(0.35 + TILE * (1 + len(columns)), 0.75 + sum(heights)), facecolor="black")
    FigureCanvasAgg(figure)
    width, height = figure.get_size_inches()
    grid = figure.subplots(6, 1 + len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
    figure.subplots_adjust(left=0.35 / width, right=1, bottom=0, top=1 - 0.75 / height, wspace=0.02, hspace=0.02)
    figure.suptitle(title, color="white", fontsize=10, y=1 - 0.08 / height, va="top")
    for axes in grid.flat:
        axes.set_axis_off()
    for row, plane in enumerate(PLANES):
        aspect = float(truth[f"{plane}_edges"][1] / truth[f"{plane}_edges"][0])
        for column, (_, planes) in enumerate([("truth", truth), *columns]):
            image = np.asarray(planes[plane], np.float32)
            pair = [(image, "gray"), (ERROR_SCALE * np.abs(image - shown[plane]), "inferno")]
            for axes, (picture, colours) in zip(
                grid[2 * row : 2 * row + 2, column], pair[: 1 if column == 0 else 2], strict=False
            ):
                axes.imshow(
                    picture.T, cmap=colours, vmin=0, vmax=top, origin="lower", aspect=aspect, interpolation="nearest"
                )
        for axes, text in zip(grid[2 * row : 2 * row + 2, 0], (plane, f"error x{ERROR_SCALE:g}"), strict=True):
            axes.text(
                -0.04, 0.5, text, transform=axes.transAxes, color="white", rotation=90, ha="right", va="center",
                fontsize=8,
            )  # fmt: skip
    for axes, text in zip(grid[0], ("truth", *(text for text, _ in columns)), strict=True):
        axes.set_title(text, color="white", fontsize=7, pad=3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="black")
    return Path(path)
