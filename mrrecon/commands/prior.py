"""``mrrecon prior list | show | evaluate``: which priors there are, what they are, how well they denoise."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from mrrecon.commands.files import PriorChoice, Reads, Word, Writes
from mrrecon.commands.shared import print_columns
from mrrecon.errors import DataError, OutputError
from mrrecon.io.template import find_template
from mrrecon.progress import ProgressBar

__all__ = ["prior_evaluate", "prior_list", "prior_show"]

TEMPLATE_NOTE = (
    "No --data: evaluated on the MNI152 template, an average of 152 heads that is smoother than any scan. Numbers on "
    "it compare priors with each other; they are not those of a validation set."
)
SAMPLES = 6  # slices of a picture of samples
SAMPLE_EDGES = (192, 224)  # mm
CURVES = ".png"


def prior_list() -> None:
    """List the priors that are there: packaged, without training, of other packages. No weights are read."""
    from mrrecon.priors.registry import describe_all

    head = ("name", "kind", "voxels (mm)", "parameters", "on disk", "source")
    rows = [
        (one["name"], one["kind"] or "?", _voxels(one), _count(one["parameters"]), _size(one["bytes"]), one["source"])
        for one in describe_all()
    ]
    print_columns([head, *rows])


def prior_show(name: PriorChoice) -> None:
    """Say what a prior is: settings, how it was trained, and its model card.

    Parameters
    ----------
    name
        Name of a prior (mrrecon prior list), or the folder of one.
    """
    from mrrecon.priors import registry, storage

    found = registry.describe(name)
    lines = [
        ("name", found["name"]),
        ("kind", found["kind"] or "?"),
        ("source", found["source"] if found["folder"] is None else f"{found['source']}, {found['folder']}"),
        ("voxels (mm)", _voxels(found)),
        ("parameters", _count(found["parameters"])),
        ("on disk", _size(found["bytes"])),
    ]
    folder = found["folder"]
    settings = _settings(registry.load(name)) if folder is None else storage.read_config(folder)
    shown = {*(key for key, _ in lines), "voxel_sizes", "format", "format_version"}
    lines += [line for key, value in settings.items() if key not in shown for line in _flat(key, value)]
    print_columns(lines)
    if found["card"] is not None:
        print(f"\n{found['card'].read_text('utf-8').strip()}")


def _check_result(path: str) -> None:
    """Refuse a table or picture that could not be written, before the long work."""
    from mrrecon.atomic import check_target, try_target
    from mrrecon.denoising.tables import TABLES

    if not path.lower().endswith((*TABLES, CURVES)):
        raise OutputError(f"{path}: results are written as {', '.join(TABLES)} or, curves, {CURVES}.")
    check_target(path)
    try_target(path)


def _check_picture(path: str) -> None:
    if not path.lower().endswith(CURVES):
        raise OutputError(f"{path}: pictures are written as {CURVES}.")
    _check_result(path)


def _volume_files(source: str) -> list[Path]:
    from mrrecon.training.volumes import find_volumes

    return find_volumes([source])


def prior_evaluate(
    names: list[PriorChoice],
    output: list[Annotated[str, Writes(_check_result)]] | None = None,
    data: list[Annotated[str, Reads(also=_volume_files)]] | None = None,
    voxel_size: list[float] = [2.0, 1.0],  # noqa: B006 (never changed; what the help shows)
    times: list[int] = [50, 100, 200, 400],  # noqa: B006
    slices: int = 4,
    baselines: list[Word] = ["scaled-input", "wavelet", "total-variation"],  # noqa: B006
    seed: int = 0,
    pictures: Annotated[str, Writes(_check_picture)] | None = None,
    samples: Annotated[str, Writes(_check_picture)] | None = None,
    shape: tuple[int, int] | None = None,
    steps: int = 50,
    device: Word = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> None:
    """Measure how well priors denoise slices, beside methods without training.

    Parameters
    ----------
    names
        Names of priors (mrrecon prior list), or folders.
    output
        Tables (.json with the full record, .csv, .md) and curves (.png) to write.
    data
        Files, folders or patterns of volumes that the priors were not trained on (default: the MNI152 template of the
        package nilearn).
    voxel_size
        Voxel edges in mm, one or several.
    times
        Noise levels, as times of the linear DDPM schedule.
    slices
        Slices per volume and plane.
    baselines
        Some of scaled-input, wavelet, total-variation, bm3d (slow, needs the package bm3d); or the word none.
    seed
        Seed of phase, noise and samples.
    pictures
        PNG file for noisy, denoised and true slices at the first voxel size.
    samples
        PNG file for slices that the priors draw without any data (DDIM).
    shape
        Matrix of those samples, for example [96,112] (default: 192 x 224 mm at the first voxel size).
    steps
        Steps of DDIM.
    device
        Where the priors compute: auto (a GPU if there is one), cpu, cuda.
    precision
        Arithmetic of networks.
    """
    from mrrecon import denoising
    from mrrecon.reconstruction import versions
    from mrrecon.training.volumes import find_volumes, read_volumes

    files = list(output or [])
    levels = denoising.reference_levels(times)
    priors = _load(names, device, precision)
    without = denoising.baselines([] if baselines == ["none"] else baselines)
    without = [method for method in without if method.name not in priors]
    methods = [*(denoising.of_prior(prior, name) for name, (prior, _) in priors.items()), *without]
    sources = [find_template()] if data is None else find_volumes(data)
    _warn_of_training_data([prior for prior, _ in priors.values()], sources)
    cases = denoising.validation_slices(read_volumes(sources), voxel_size, slices, seed)
    total = len(methods) * len(levels) * len({case.voxel_size for case in cases})
    begun = itertools.count()
    with ProgressBar(total) as bar:
        rows = denoising.compare(methods, cases, levels, seed, lambda what: bar.at(next(begun), what))
    record = {
        "policy": denoising.POLICY,
        "settings": {"seed": seed, "slices_per_plane": slices, "times": times, "voxel_sizes": voxel_size},
        "data": [_file_record(path) for path in sources],
        "volumes": list(dict.fromkeys(case.volume for case in cases)),
        "levels": levels,
        "priors": {name: description for name, (_, description) in priors.items()},
        "baselines": {method.name: method.about for method in without},
        "versions": versions(),
    }
    print(f"Denoising, complex PSNR in dB, {sum(len(c.slices) for c in cases)} slices\n\n{denoising.markdown(rows)}")
    for path in files:
        if path.lower().endswith(CURVES):
            denoising.draw_curves(rows, path, dashed=[method.name for method in without])
        else:
            denoising.write_tables(rows, record, path)
    if pictures is not None:
        first = [case for case in cases if case.voxel_size == cases[0].voxel_size]
        denoising.draw_denoised(methods, max(first, key=lambda case: case.plane), rows, pictures, seed)
        files.append(pictures)
    if samples is not None:
        matrix = shape or tuple(round(edge / voxel_size[0]) for edge in SAMPLE_EDGES)
        drawn = {name: _draw(prior, matrix, voxel_size[0], seed, steps) for name, (prior, _) in priors.items()}
        denoising.draw_samples(drawn, samples)
        files.append(samples)
    for path in files:
        print(f"wrote {path}")
    if data is None:
        print(f"mrrecon: note: {TEMPLATE_NOTE}", file=sys.stderr)


def _load(names: list[str], device: str, precision: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Priors by the name that they have in tables, each with its record."""
    from mrrecon.priors import registry, storage

    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for given in names:
        prior = registry.load(given, device=device, precision=precision)
        folder = registry.describe(given)["folder"]
        settings = _settings(prior)
        if folder is not None:
            settings["weights_sha256"] = storage.read_config(folder).get("weights_sha256")
        settings.update(device=str(prior.device), precision=getattr(prior, "precision", "fp32"))
        name = prior.name if prior.name not in found else given
        if name in found:
            raise DataError(f"The prior {given} is named twice; name it once.")
        found[name] = (prior, settings)
    return found


def _settings(prior: Any) -> dict[str, Any]:
    from mrrecon.errors import PriorError

    try:
        return prior.config()
    except PriorError:  # priors of functions have none
        return {"class": type(prior).__name__}


def _warn_of_training_data(priors: list[Any], sources: list[Path]) -> None:
    """Say which priors were trained on which of the files, or on the same subjects, as far as their records tell."""
    from mrrecon.training.assembly import subject_label
    from mrrecon.training.custody import Custody, Seen

    given = tuple(Seen(path.name.partition(".")[0], subject_label(path.name)) for path in sources)
    for prior in priors:
        found = Custody.from_dict(getattr(prior, "training", {}).get("data", {}))
        known = replace(found, validation=given).not_held_out
        if known:
            warnings.warn(
                f"The prior {prior.name} was trained on {', '.join(known)} (or the same subject): its numbers are too "
                "good; give other --data.",
                stacklevel=2,
            )


def _draw(prior: Any, matrix: tuple[int, ...], edge: float, seed: int, steps: int) -> Any:
    from mrrecon.priors.condition import Condition
    from mrrecon.priors.sampling import sample

    return sample(prior, (SAMPLES, *matrix), seed, steps=steps, condition=Condition(voxel_size=(edge, edge)))


def _file_record(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _voxels(found: Mapping[str, Any]) -> str:
    sizes = found["voxel_sizes"]
    if sizes is None:
        return "?" if found["kind"] is None else "any"
    low, high = sizes
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}" if number < 10**6 else f"{number / 1e6:.2f} million"


def _size(number: int | None) -> str:
    from mrrecon.io.checks import size_text

    return "?" if number is None else "none" if number == 0 else size_text(number)


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    """Nested settings as lines with dotted names."""
    if isinstance(value, Mapping):
        return [line for name, inner in value.items() for line in _flat(f"{key}.{name}", inner)]
    if isinstance(value, list):
        return [(key, ", ".join(v if isinstance(v, str) else json.dumps(v) for v in value) or "none")]
    if isinstance(value, str) and "\n" in value:
        return [(key, f"{value.strip().splitlines()[0]} …")]
    return [(key, str(value))]
