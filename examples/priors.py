"""List, load, swap, sample and save priors: everything that `mrrecon.priors` has, on one noisy slice.

python examples/priors.py [picture.png]
"""

from __future__ import annotations

import sys

import matplotlib
import numpy as np

from mrrecon import priors

SIGMA = 0.1  # standard deviation of the noise per real component; bright tissue is one


def head() -> np.ndarray:
    """A slice of the MNI152 template at 2 mm with a smooth phase: no prior was trained on it."""
    from nilearn.datasets import load_mni152_template

    slices = load_mni152_template(resolution=2).get_fdata()[:, :, 40].astype(np.float32)
    slices /= np.percentile(slices[slices > 0], 99)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in slices.shape), indexing="ij")
    return (slices * np.exp(1j * (x + 2 * y * y))).astype(np.complex64)


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Complex PSNR in dB, bright tissue being one."""
    return float(-10 * np.log10(np.mean(np.abs(estimate - truth) ** 2)))


def main(picture: str | None = None) -> None:
    """Show what priors there are and what they do to a noisy slice."""
    for description in priors.describe_all():
        print(f"{description['name']:16} {description['kind']:16} voxels {description['voxel_sizes'] or 'any'}")

    truth = head()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)
    noisy = (truth + SIGMA * noise).astype(np.complex64)
    shown = {"truth": truth, "noisy": noisy}

    # The same call whatever the prior is; only the name changes.
    about = priors.Condition(voxel_size=(2.0, 2.0))
    for name in ("wavelet", "total-variation", "brain-small", "brain-diverse"):
        shown[name] = priors.load(name).denoise(noisy, SIGMA, about)

    # Any function is a prior, too.
    mine = priors.from_callable(lambda x, sigma: x / (1 + 4 * sigma[:, None, None] ** 2), name="mine")
    shown["mine"] = mine.denoise(noisy, SIGMA)

    # A prior alone draws slices.
    shown["sample"] = priors.sample(priors.load("brain-diverse"), truth.shape, seed=1, steps=30)

    for name, image in shown.items():
        print(f"{name:16} PSNR {psnr(image, truth):5.1f} dB" if name not in ("truth", "sample") else name)
    if picture is not None:
        save_picture(shown, picture)


def save_picture(shown: dict[str, np.ndarray], path: str) -> None:
    """Write magnitudes side by side."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(shown), figsize=(2.2 * len(shown), 2.8))
    for axis, (name, image) in zip(axes, shown.items(), strict=True):
        axis.imshow(np.abs(image).T, cmap="gray", vmin=0, vmax=1.1, origin="lower")
        axis.set_title(name)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:2])
