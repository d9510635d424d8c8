"""Pictures of an evaluation: curves against the noise level, slices before and after, samples of a prior alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrrecon.denoising.comparison import Denoiser, noisy_slices
from mrrecon.denoising.slices import VoxelSlices
from mrrecon.denoising.tables import means
from mrrecon.pictures.figures import new_figure, save_figure
from mrrecon.pictures.montage import Style, Tile, draw_tiles

__all__ = ["draw_curves", "draw_denoised", "draw_samples"]

TRIVIAL = "scaled input"  # method that curves are drawn relative to
TOP = 1.25  # magnitude of samples that is shown white; bright tissue is one
BRIGHTEST = 0.995  # share of the pixels of a true slice that are not shown white
DPI = 110
MONTAGE = Style(column=1.7, left=0.3, head=0.3, gap=0.03, font=8, dpi=DPI)


def draw_curves(rows: Sequence[Mapping[str, Any]], path: str | Path, dashed: Sequence[str] = ()) -> Path:
    """Draw mean PSNR against the noise level, one panel per voxel size, one curve per method.

    Where the rows have the method ``"scaled input"``, curves are drawn relative to it: they differ by less than they
    fall.

    Parameters
    ----------
    rows
        From :func:`~mrrecon.denoising.compare`.
    path
        PNG file.
    dashed
        Methods whose curves are dashed, in shades of grey.
    """
    sigmas = {row["level"]: row["sigma"] for row in rows}
    panels = means(rows)
    figure = new_figure(1.2 + 4.2 * len(panels), 4.2, layout="constrained")
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
    return save_figure(figure, path, DPI)


def draw_denoised(
    methods: Sequence[Denoiser], case: VoxelSlices, rows: Sequence[Mapping[str, Any]], path: str | Path, seed: int = 0
) -> Path:
    """Draw magnitudes of the middle slice of a case: noisy, denoised by each method, true; one row per level.

    Parameters
    ----------
    methods, seed
        As given to :func:`~mrrecon.denoising.compare`; the noise is the same.
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
    shown: list[tuple[str, list[Tile | None]]] = []
    columns: dict[str, torch.Tensor] = {}
    for level, sigma in {row["level"]: row["sigma"] for row in rows}.items():
        noisy = noisy_slices(one, sigma, seed)
        columns = {m.name: m.choices[chosen[m.name, level]](noisy, sigma, one) for m in methods}
        columns = {"noisy": noisy, **columns, "truth": one.slices}
        shown.append((f"t = {level}", [Tile(column[0].numpy()) for column in columns.values()]))
    top = max(float(np.quantile(one.slices[0].abs(), BRIGHTEST)), 0.1)
    return draw_tiles(shown, list(columns), path, MONTAGE, top)


def draw_samples(samples: Mapping[str, np.ndarray], path: str | Path) -> Path:
    """Draw complex slices that priors made, magnitudes above phases.

    Parameters
    ----------
    samples
        Name to slices ``(B, H, W)`` of :func:`mrrecon.priors.sample`.
    path
        PNG file.
    """
    rows: list[tuple[str, list[Tile | None]]] = []
    for name, slices in samples.items():
        rows.append((name, [Tile(one) for one in slices]))
        rows.append((f"{name}, phase", [Tile(_phase_colours(one)) for one in slices]))
    return draw_tiles(rows, [str(i + 1) for i in range(max(map(len, samples.values()), default=0))], path, MONTAGE, TOP)


def _phase_colours(image: np.ndarray) -> np.ndarray:
    """Colour for the phase, brightness for the magnitude, ``(H, W, 3)``."""
    from matplotlib.colors import hsv_to_rgb

    hue = (np.angle(image) / (2 * np.pi)) % 1.0
    return hsv_to_rgb(np.stack([hue, np.ones_like(hue), np.clip(np.abs(image) / TOP, 0, 1)], axis=-1))
