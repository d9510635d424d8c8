"""Train a tiny diffusion prior in about two minutes on two CPU cores, and look at what it can do.

python examples/train_tiny_prior.py [STEPS]

The data are what everybody has: the MNI152 head of the package nilearn. A slab of it is kept aside; the prior then
denoises a slice of that slab. One head is far too little for a real prior, and a slab is not another person: this shows
the way, not the goal.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import torch

from mrrecon import priors, training
from mrrecon.cli import main as mrrecon
from mrrecon.io.template import find_template

FOLDER = Path("tiny_prior")
SLAB = slice(80, 110)  # axial, mm, kept aside
NOISE = 0.15  # standard deviation of real and imaginary part; bright tissue is about one


def make_data() -> None:
    """Cut the head into what is trained on, below and above the slab, and the slab."""
    head = nibabel.load(find_template())
    parts = {"train/below": slice(None, SLAB.start), "validation/slab": SLAB, "train/above": slice(SLAB.stop, None)}
    for name, part in parts.items():
        path = FOLDER / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        head.slicer[:, :, part].to_filename(path)


def show(pictures: dict[str, np.ndarray]) -> Path:
    """Draw the magnitude of slices side by side."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(3 * len(pictures), 3.6), layout="constrained")
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(np.abs(picture).T, cmap="gray", vmin=0, vmax=1.2, origin="lower")
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(FOLDER / "denoised.png", dpi=100)
    return FOLDER / "denoised.png"


def main(steps: list[str]) -> None:
    """Make the data, train, denoise."""
    make_data()
    settings = Path(__file__).with_suffix(".yaml")
    if mrrecon(["train", str(settings), "-o", str(FOLDER / "run"), *(f"--steps={n}" for n in steps)]) != 0:
        sys.exit(1)

    prior = priors.load(FOLDER / "run" / "prior")
    slab = training.open_volumes(FOLDER / "validation", voxel_size=2.0)[0]
    middle = slab.slab(axis=2, start=slab.grid.shape[2] // 2, stop=slab.grid.shape[2] // 2 + 1)[0]
    phase = np.exp(1j * np.linspace(0, 2, middle.shape[0]))[:, None]
    clean = (middle * phase).astype(np.complex64)
    noisy = clean + NOISE * priors.complex_noise(clean.shape, torch.Generator().manual_seed(0)).numpy()
    denoised = prior.denoise(noisy, NOISE)

    def psnr(picture: np.ndarray) -> float:
        return -10 * np.log10(np.mean(np.abs(picture - clean) ** 2))

    print(f"PSNR: noisy {psnr(noisy):.1f} dB, denoised {psnr(denoised):.1f} dB")
    titles = {"clean": clean, f"noisy, {psnr(noisy):.1f} dB": noisy, f"denoised, {psnr(denoised):.1f} dB": denoised}
    print(f"wrote {show({**titles, 'what is left of the error': denoised - clean})}")


if __name__ == "__main__":
    main(sys.argv[1:])
