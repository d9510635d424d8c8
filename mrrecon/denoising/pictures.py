"""Pictures of an evaluation: curves against the noise level, slices before and after, samples of a prior alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.denoising.comparison import Method, noisy_slices
from mrrecon.denoising.slices import VoxelSlices
from mrrecon.denoising.tables import means
from mrrecon.errors import DataError

__all__ = ["draw_curves", "draw_denoised", "draw_samples"]

TRIVIAL = "scaled input"  # method that curves are drawn relative to
TILE = 1.7  # inches
TOP = 1.25  # magnitude of samples that is shown white; bright tissue is one
BRIGHTEST = 0.995  # share of the pixels of a true slice that are not shown white
DPI = 110


def draw_curves(rows: Sequence[Mapping[str, Any]], path: str | Path, dashed: Sequence[str] = ()) -> Path:
    """Draw mean PSNR against the noise level, one panel per voxel size, one curve per method.

    Where the rows have the method ``"scaled input"``, curves are drawn relative to it: they differ by less than they
    fall.

    Parameters
    ----------
    rows
        From :func:`~mrrecon.denoising.comparison`.
    path
        PNG file.
    dashed
        Methods whose curves are dashed, in shades of grey.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sigmas = {row["level"]: row["sigma"] for row in rows}
    panels = means(rows)
    figure = Figure(figsize=(1.2 + 4.2 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(name for methods in panels.values() for name in methods if name != TRIVIAL))
    greys = [name for name in names if name in dashed]
    styles: dict[str, dict[str, Any]] = {
        name: {"ls": "--", "color": str(0.75 * k / len(greys)), "marker": "sv^<>dx"[k % 7], "ms": 4}
        for k, name in enumerate(greys)
    }
    for axes, (size, methods) in zip(all_axes, panels.items(), strict=True):
        zero = {level: v["all"] for level, v in methods.get(TRIVIAL, {}).items()}
        for name in (name for name in names if name in methods):
            heights = [v["all"] - zero.get(level, 0.0) for level, v in methods[name].items()]
            style = styles.get(name, {"marker": "o", "ms": 4})
            axes.plot([sigmas[level] for level in methods[name]], heights, label=name, **style)
        axes.set(title=f"{size} voxels", xlabel="noise σ per real component (bright tissue is 1)", xscale="log")
        axes.set_xticks(list(sigmas.values()), [f"{s:.2g}\nt = {t}" for t, s in sigmas.items()])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    relative = any(TRIVIAL in methods for methods in panels.values())
    all_axes[0].set_ylabel(f"complex PSNR{f' above that of the {TRIVIAL}' if relative else ''} (dB)")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return _save(figure, path, "white")


def draw_denoised(
    methods: Sequence[Method],
    case: VoxelSlices,
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    seed: int = 0,
) -> Path:
    """Draw magnitudes of the middle slice of a case: noisy, denoised by each method, true; one row per level.

    Parameters
    ----------
    methods, seed
        As given to :func:`~mrrecon.denoising.comparison`; the noise is the same.
    case
        Its middle slice is shown.
    rows
        What it returned: the levels, and the settings that were chosen.
    path
        PNG file.
    """
    middle = slice(len(case.slices) // 2, len(case.slices) // 2 + 1)
    one = replace(case, slices=case.slices[middle], positions=case.positions[middle])
    chosen = {(r["method"], r["level"]): r["setting"] for r in rows if r["voxel_size"] == case.voxel_size}
    pictures = {}
    for level, sigma in {row["level"]: row["sigma"] for row in rows}.items():
        noisy = noisy_slices(one, sigma, seed)
        columns = {m.name: m.choices[chosen[m.name, level]](noisy, sigma, one) for m in methods}
        columns = {"noisy": noisy, **columns, "truth": one.slices}
        pictures[f"t = {level}"] = {name: column[0].numpy() for name, column in columns.items()}
    return _montage(pictures, path, max(float(np.quantile(one.slices[0].abs(), BRIGHTEST)), 0.1))


def draw_samples(samples: Mapping[str, np.ndarray], path: str | Path) -> Path:
    """Draw complex slices that priors made, magnitudes above phases.

    Parameters
    ----------
    samples
        Name to slices ``(B, H, W)`` of :func:`mrrecon.priors.sample`.
    path
        PNG file.
    """
    rows: dict[str, dict[str, np.ndarray]] = {}
    for name, slices in samples.items():
        rows[name] = {str(i + 1): s for i, s in enumerate(slices)}
        rows[f"{name}, phase"] = {str(i + 1): _phase_colours(s) for i, s in enumerate(slices)}
    return _montage(rows, path)


def _phase_colours(image: np.ndarray) -> np.ndarray:
    """Colour for the phase, brightness for the magnitude, ``(H, W, 3)``."""
    from matplotlib.colors import hsv_to_rgb

    hue = (np.angle(image) / (2 * np.pi)) % 1.0
    return hsv_to_rgb(np.stack([hue, np.ones_like(hue), np.clip(np.abs(image) / TOP, 0, 1)], axis=-1))


def _montage(rows: Mapping[str, Mapping[str, np.ndarray]], path: str | Path, top: float = TOP) -> Path:
    """Pictures in rows, on black: complex ones as magnitudes up to `top`, others in their colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not rows:
        raise DataError(f"There is nothing to draw in {path}.")
    columns = max(len(row) for row in rows.values())
    tallest = max(p.shape[1] / p.shape[0] for row in rows.values() for p in row.values())
    height = TILE * max(1.0, tallest)
    figure = Figure(figsize=(0.3 + TILE * columns, 0.3 + height * len(rows)), facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    width, height = figure.get_size_inches()
    figure.subplots_adjust(left=0.3 / width, right=1, bottom=0, top=1 - 0.3 / height, wspace=0.03, hspace=0.03)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, (title, row) in enumerate(rows.items()):
        for axes, (name, picture) in zip(grid[i], row.items(), strict=False):
            shown = np.abs(picture) if np.iscomplexobj(picture) else picture
            shown = np.moveaxis(shown, 0, 1)[::-1]  # first axis to the right, second upwards
            axes.imshow(shown, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            if i == 0:
                axes.set_title(name, color="white", fontsize=8, pad=3)
        grid[i][0].text(
            -0.03, 0.5, title, transform=grid[i][0].transAxes, color="white", rotation=90, ha="right", va="center",
            fontsize=8,
        )  # fmt: skip
    return _save(figure, path, "black")


def _save(figure: Any, path: str | Path, background: str) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor=background)
    return Path(path)
