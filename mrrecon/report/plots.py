"""Plots of a study: quality against R, against network evaluations or seconds, and against a setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.pictures.figures import new_figure, save_figure
from mrrecon.pictures.tables import grouped
from mrrecon.report.summary import BEST, Summary, means
from mrrecon.studies.method import DEFAULT

__all__ = ["draw_cost", "draw_quality", "draw_settings"]

DPI = 110
PANEL = (3.6, 3.0)  # inches
COLUMNS = 4
AXES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "evaluations": "network evaluations (slices)", "seconds": "seconds"}


def draw_quality(summary: Summary, path: str | Path) -> Path:
    """Draw mean PSNR and SSIM against R as a PNG file; solid at the default of each method, dashed at its best."""
    figure, (left, right) = _figure(2, (4.8, 3.8))
    records = summary.means()
    for axes, measure in ((left, "psnr"), (right, "ssim")):
        for line, colour in _colours(summary).items():
            for setting, style in ((DEFAULT, "-"), (BEST, "--")):
                own = [r for r in records if (r["line"], r["setting"]) == (line, setting)]
                own.sort(key=lambda r: r["acceleration"])
                if own:
                    label = line if setting != BEST else f"{line}, {BEST}"
                    axes.plot(
                        [r["acceleration"] for r in own], [r[measure] for r in own], style,
                        color=colour, marker=".", label=label,
                    )  # fmt: skip
        axes.set(xlabel="acceleration R", ylabel=AXES[measure], xscale="log")
        axes.set_xticks(summary.accelerations, [f"{r:g}" for r in summary.accelerations])
        axes.minorticks_off()
    return _save(figure, path)


def draw_cost(summary: Summary, cost: str, path: str | Path) -> Path | None:
    """Draw mean PSNR against what it costs as a PNG file, one panel for each R: a point for each setting of a method.

    A line joins those settings of a method than which none is both cheaper and better. The cost is ``"evaluations"`` or
    ``"seconds"``; methods without network evaluations are a dotted line across, at their best. Returns None, and writes
    no file, if no run has this cost.
    """
    records = _over_files(summary)
    if not any(r[cost] is not None for r in records):
        return None
    tops = {
        (r["line"], r["acceleration"]): r["psnr"] for s in (DEFAULT, BEST) for r in summary.means() if r["setting"] == s
    }
    figure, all_axes = _figure(len(summary.accelerations), PANEL)
    for axes, acceleration in zip(all_axes, summary.accelerations, strict=True):
        for line, colour in _colours(summary).items():
            own = [r for r in records if (r["line"], r["acceleration"]) == (line, acceleration)]
            points = sorted((r[cost], r["psnr"]) for r in own if r[cost] is not None)
            if points:
                axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=4, label=line)
                axes.plot(*zip(*_worth_it(points), strict=True), color=colour, linewidth=1)
            elif own:
                axes.axhline(tops[line, acceleration], color=colour, linestyle=":", label=line)
        axes.set(title=f"R = {acceleration:g}", xlabel=AXES[cost], ylabel=AXES["psnr"])
        _logarithmic(axes)
    return _save(figure, path)


def draw_settings(summary: Summary, path: str | Path) -> Path | None:
    """Draw mean PSNR against the setting that a method's grid changes, one panel for each method, one curve for each R.

    Returns None, and writes no file, if no method has a grid of one setting with numbers.
    """
    from matplotlib import colormaps

    records = [r for r in _over_files(summary) if r["value"] is not None]
    lines = [x for x in summary.lines if len({r["value"] for r in records if r["line"] == x}) > 1]
    if not lines:
        return None
    figure, all_axes = _figure(len(lines), PANEL)
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(summary.accelerations)))
    for axes, line in zip(all_axes, lines, strict=True):
        own = [r for r in records if r["line"] == line]
        for acceleration, shade in zip(summary.accelerations, shades, strict=True):
            points = sorted((r["value"], r["psnr"]) for r in own if r["acceleration"] == acceleration)
            if points:
                axes.plot(*zip(*points, strict=True), color=shade, marker=".", label=f"R = {acceleration:g}")
        axes.set(title=line, xlabel=summary.swept(own[0]["method"]), ylabel=AXES["psnr"])
        axes.title.set_fontsize(9)
        if min(r["value"] for r in own) > 0:
            _logarithmic(axes)
    return _save(figure, path)


def _worth_it(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, quality) in the order of cost, those that are better than all cheaper ones."""
    found: list[tuple[float, float]] = []
    for cost, quality in points:
        if not found or quality > found[-1][1]:
            found.append((cost, quality))
    return found


def _logarithmic(axes: Any) -> None:
    """Logarithmic abscissa with plain numbers at it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = np.log10(high / low)
    steps = (
        (1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 7)
    )
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _over_files(summary: Summary) -> list[dict[str, Any]]:
    """Means over files of each method's variants; of those only that have as many files as any."""
    found = []
    for of_line in grouped(summary.by_variant(), lambda r: (r["line"], r["acceleration"])).values():
        variants = grouped(of_line, lambda r: r["variant"]).values()
        for records in (one for one in variants if len(one) == max(map(len, variants))):
            place = {name: records[0][name] for name in ("line", "method", "acceleration")}
            found.append({**place, **means(records, ("psnr", "seconds", "evaluations", "value"))})
    return found


def _figure(panels: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    columns = min(panels, COLUMNS)
    rows = -(-panels // columns)
    figure = new_figure(max(size[0] * columns, 4.8), size[1] * rows + 1.0, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in grid[panels:]:
        unused.set_axis_off()
    for axes in grid[:panels]:
        axes.grid(alpha=0.3)
    return figure, grid[:panels]


def _save(figure: Any, path: str | Path) -> Path:
    """Write a figure, with one legend for all of its panels."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return save_figure(figure, path, DPI)


def _colours(summary: Summary) -> dict[str, Any]:
    from matplotlib import colormaps

    shades = colormaps["tab10"] if len(summary.lines) <= 10 else colormaps["tab20"]
    return {line: shades(i % shades.N) for i, line in enumerate(summary.lines)}
