"""Settings of a training run, as a YAML file gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mrrecon.errors import DataError, FileFormatError
from mrrecon.settings import settings_problem
from mrrecon.settings_file import read_settings

__all__ = ["TrainingConfig"]

LISTS = ("data", "validation")  # settings in which one text stands for a list of one


@dataclass(frozen=True)
class TrainingConfig:
    """What is trained, on what, and how long.

    Parameters
    ----------
    name
        What the prior is called.
    data
        Files, folders or patterns to train on; packed files among them.
    validation
        Likewise, for the validation curve; empty: none. Never trained on. Of a packed file its validation part is used.
    sources
        Where the data come from and under which licences, for the model card: text, or a file with it.
    network
        Settings of the network; see :func:`mrrecon.priors.networks.build`.
    slices
        Settings of :class:`mrrecon.training.SliceSampler`.
    schedule
        Settings of :class:`mrrecon.priors.NoiseSchedule`.
    data_scale
        Value of bright tissue in the states that the network sees.
    target
        What the network is trained to predict: ``"velocity"`` or ``"noise"``.
    low_noise
        Share of the noise levels drawn log-uniformly from `low_noise_levels`; the rest are times drawn uniformly.
        Reconstruction uses a prior mostly at low noise.
    low_noise_levels
        Smallest and largest of those levels, sigma_t / alpha_t.
    steps
        Optimiser steps in all; the learning rate falls to zero along a half cosine over them.
    learning_rate, warmup, weight_decay
        Of AdamW; `warmup` steps rise linearly.
    clip
        Largest norm of the gradient.
    ema
        Decay, per step, of the moving average of the weights; the average is what is evaluated and saved. In the first
        steps it forgets faster, so that fresh weights leave no trace.
    precision
        ``"bf16"`` autocast, ``"fp32"``, or ``"auto"``: bf16 where the hardware has it.
    compile
        Whether to run the network through torch.compile (a minute or more before the first step).
    seed
        Of slices, noise levels, noise and first weights.
    start_from
        Folder or name of a prior whose weights the training starts from; empty: fresh weights.
    workers
        Processes that draw slices; 1: a thread. More for a GPU that is faster than one core can draw.
    tensorboard
        Whether to write the log for TensorBoard too.
    validate_every, save_every, log_every
        In steps. Saving writes the checkpoint and the prior.

    Raises
    ------
    DataError
        If a setting is out of range.
    """

    name: str
    data: list[str]
    validation: list[str] = field(default_factory=list)
    sources: str = ""
    network: dict[str, Any] = field(default_factory=lambda: {"type": "unet", "channels": [64, 96, 128], "patch": 2})
    slices: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    data_scale: float = 2.0
    target: Literal["velocity", "noise"] = "velocity"
    low_noise: float = 0.5
    low_noise_levels: tuple[float, float] = (0.01, 2.0)
    steps: int = 20_000
    learning_rate: float = 4e-4
    warmup: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    seed: int = 0
    start_from: str = ""
    workers: int = 1
    tensorboard: bool = False
    validate_every: int = 1000
    save_every: int = 500
    log_every: int = 50

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> TrainingConfig:
        """Build from plain settings; each must be known and of the right type, those of network and slices too.

        Raises
        ------
        DataError
            If one is missing, unknown, of the wrong type or out of range.
        """
        from mrrecon.priors.schedule import NoiseSchedule
        from mrrecon.training.slices import SliceSampler

        settings = {k: [v] if k in LISTS and isinstance(v, str) else v for k, v in settings.items()}
        problem = (
            settings_problem(cls, settings)
            or settings_problem(SliceSampler, {"volumes": [], **settings.get("slices", {})})
            or settings_problem(NoiseSchedule, settings.get("schedule", {}))
        )
        if problem:
            raise DataError(f"{problem}.")
        return cls(**settings)

    @classmethod
    def from_yaml(cls, path: str | Path, **changes: Any) -> TrainingConfig:
        """Read a YAML file of settings; `changes` that are not None take their place.

        Raises
        ------
        FileFormatError
            If the file is missing, not YAML, or its settings are not usable.
        """
        settings = read_settings(path, "name and data")
        try:
            return cls.from_settings({**settings, **{k: v for k, v in changes.items() if v is not None}})
        except DataError as error:
            raise FileFormatError(f"{path}: {error}") from error

    def __post_init__(self) -> None:
        counts = ("steps", "workers", "validate_every", "save_every", "log_every")
        for name in (*counts, "learning_rate", "clip", "data_scale"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise DataError(f"The setting {name} must be positive, got {getattr(self, name)!r}.")
        if self.warmup < 0 or self.weight_decay < 0:
            raise DataError(f"warmup and weight_decay may not be negative, got {self.warmup} and {self.weight_decay}.")
        if not 0 <= self.low_noise <= 1 or not 0 <= self.ema < 1:
            raise DataError(f"low_noise must be in [0, 1] and ema in [0, 1), got {self.low_noise} and {self.ema}.")
        low, high = self.low_noise_levels
        if not 0 < low < high:
            raise DataError(f"low_noise_levels must be two rising positive numbers, got {low}, {high}.")
        if not self.name or any(mark in self.name for mark in "/\\"):
            raise DataError(f"The setting name must be text without slashes, got {self.name!r}.")
        if not self.data:
            raise DataError("The setting data is empty: name the files or folders to train on.")

    @property
    def voxel_sizes(self) -> tuple[float, float]:
        """Smallest and largest voxel edge that is trained on, mm."""
        edge = float(self.slices.get("voxel_size", 1.0))
        fixed = self.slices.get("mode", "diverse") == "fixed"
        return edge, edge if fixed else edge / float(self.slices.get("min_factor", 0.1))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)
