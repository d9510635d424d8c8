"""How well the packaged priors denoise the validation subjects, beside BM3D and other denoisers without training.

The same noisy slices for every method: 1, 2 and 4 mm, t = 50, 100, 200, 400; the middle slice of every plane of every
volume of ../shared/data/validation (or $MRRECON_DATA), none of which a prior was trained on. BM3D is the package of
PyPI at the best of four strengths; two channels (real and imaginary part) is the one that the goal is about. It takes
nearly all of the time (ten minutes on two idle cores; about one without it), which is why there is one
slice per plane.

python benchmarks/denoising.py                        # everything, on both cores; also the pictures in docs/images
python benchmarks/denoising.py --small                # one volume at 4 mm: does it run?
python benchmarks/denoising.py --priors A B --slices 2 --without-bm3d
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import DATA, save

from mrrecon import denoising, priors
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.condition import Condition

VOXELS = (1.0, 2.0, 4.0)
DEFAULT, FIXED = "brain-diverse", {"1 mm": "brain-1x", "2 mm": "brain-2x", "4 mm": "brain-4x"}
GOALS = {"gain over BM3D, dB": 2.0, "behind the prior of this voxel size, dB": 0.3}
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SAMPLE_SHAPE, SAMPLE_VOXEL, SAMPLES, SAMPLE_STEPS = (96, 112), 2.0, 6, 50


def gaps(psnr: Mapping[str, Any], better: str, worse: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """PSNR of one method above that of another, which depends on the voxel size, by voxel size and level."""
    return {
        size: {t: round(methods[better][t]["all"] - methods[worse[size]][t]["all"], 3) for t in methods[better]}
        for size, methods in psnr.items()
        if better in methods and worse.get(size) in methods
    }


def draw(prior: SlicePrior) -> Any:
    """Slices from a prior alone, at the voxel size that it knows which is nearest to 2 mm."""
    low, high = prior.voxel_sizes or (SAMPLE_VOXEL, SAMPLE_VOXEL)
    edge = min(max(SAMPLE_VOXEL, low), high)
    shape = [round(n * SAMPLE_VOXEL / edge) for n in SAMPLE_SHAPE]
    about = Condition(voxel_size=(edge, edge))
    return priors.sample(prior, (SAMPLES, *shape), seed=0, steps=SAMPLE_STEPS, condition=about, batch=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--priors", nargs="*", help="names or folders (default: the packaged ones)")
    parser.add_argument("--slices", type=int, default=1, help="per volume and plane (1)")
    parser.add_argument("--without-bm3d", action="store_true")
    parser.add_argument("--small", action="store_true", help="one volume at 4 mm (denoising_small.json)")
    options = parser.parse_args()
    packaged = [found["name"] for found in priors.describe_all() if found["source"] == "packaged"]
    chosen = packaged if options.priors is None else options.priors
    loaded = {prior.name: prior for prior in map(priors.load, chosen)}
    from mrrecon.training import read_volumes

    files = sorted((DATA / "validation").glob("*.nii.gz"))
    volumes = list(read_volumes(files[:1] if options.small else files))
    cases = denoising.validation_slices(volumes, (4.0,) if options.small else VOXELS, options.slices)
    levels = denoising.reference_levels()
    bm3d = [] if options.without_bm3d else ["bm3d"]
    without = denoising.baselines(["scaled-input", "wavelet", "total-variation", *bm3d])
    methods = [*map(denoising.of_prior, loaded.values()), *without]
    start = time.perf_counter()
    rows = denoising.compare(
        methods, cases, levels, progress=lambda what: print(f"{time.perf_counter() - start:6.0f} s  {what}", flush=True)
    )
    seconds = time.perf_counter() - start
    psnr = denoising.means(rows)
    save(
        "denoising_small" if options.small else "denoising",
        {
            "work": "denoising of validation slices with known noise",
            "policy": denoising.POLICY,
            "seed": 0,
            "levels": levels,
            "volumes": [volume.name for volume in volumes],
            "slices": {size: sum(len(c.slices) for c in cases if f"{c.voxel_size:g} mm" == size) for size in psnr},
            "priors": {name: {**prior.config(), "training": None} for name, prior in loaded.items()},
            "baselines": {method.name: method.about for method in without},
            "goals": GOALS,
            "gain_over_bm3d": {name: gaps(psnr, name, dict.fromkeys(psnr, "BM3D")) for name in loaded},
            "behind_fixed": {
                size: {t: -gap for t, gap in by_level.items()} for size, by_level in gaps(psnr, DEFAULT, FIXED).items()
            },
            "psnr": psnr,
            "settings_chosen": {
                f"{row['method']}, {row['voxel_size']:g} mm, t = {row['level']}": row["setting"]
                for row in rows
                if row["setting"]
            },
            "seconds": round(seconds),
        },
    )
    print(denoising.markdown(rows))
    if not options.small:
        denoising.draw_curves(rows, IMAGES / "priors_denoising.png", dashed=[method.name for method in without])
        if loaded:
            denoising.draw_samples({name: draw(prior) for name, prior in loaded.items()}, IMAGES / "priors_samples.png")


if __name__ == "__main__":
    main()
