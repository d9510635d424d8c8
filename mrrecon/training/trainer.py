"""The training loop of diffusion priors: resumable to the step, on one processor, one GPU or many."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mrrecon import __version__
from mrrecon.errors import DataError, FileFormatError, MRReconError, PriorError
from mrrecon.interrupts import asked_to_stop
from mrrecon.priors import networks
from mrrecon.priors.diffusion import DiffusionPrior
from mrrecon.priors.registry import load
from mrrecon.priors.schedule import NoiseSchedule
from mrrecon.training.card import model_card
from mrrecon.training.checkpoint import load_checkpoint, save_checkpoint
from mrrecon.training.config import TrainingConfig
from mrrecon.training.custody import Custody
from mrrecon.training.log import TrainingLog
from mrrecon.training.objectives import diffusion_loss
from mrrecon.training.processes import Place

__all__ = ["Trainer"]

FREE = frozenset(  # settings that may change when a training goes on; the others are what is being trained
    "data validation sources steps learning_rate warmup weight_decay clip ema precision compile workers tensorboard "
    "validate_every save_every log_every".split()
)
UNRECORDED = ("data", "validation", "sources", "workers", "tensorboard")  # settings that the prior does not repeat
AGREE_EVERY = 10  # steps between which processes ask each other whether to stop


class Trainer:
    """Trains one network on clean complex slices that arrive as a function of the step.

    Parameters
    ----------
    config
        Settings.
    batches
        ``batches(first_step, rank)`` generates ``(step, slices)``: complex64 ``(B, H, W)`` at unit signal, a pure
        function of step and rank, so that a resumed run sees what the uninterrupted one would have.
    folder
        Where ``log.jsonl``, ``checkpoint.safetensors`` and the prior itself, ``prior/``, go. A training of the same
        settings that is there is gone on with: exactly, from its checkpoint; or, if only ``prior/`` is there, from its
        averaged weights, with new moments of the optimiser and a new warm-up.
    validate
        ``validate(prior) -> {what: dB}`` for the log; None: no validation.
    place
        Device, and which of the processes that train together this is.
    data
        The volumes, ``{"training": [...], "validation": [...]}``, each a name or a
        :class:`~mrrecon.training.custody.Seen`, and ``"sources"``, for the model card. A training that goes on with
        others says so, and the card names all that the weights were ever trained on, those of `start_from` too.

    Raises
    ------
    DataError
        If the folder has a training with other settings.
    FileFormatError
        If its checkpoint is damaged.

    Notes
    -----
    Every random number is drawn from a generator seeded with (seed, step, rank). Processes that train together draw
    their own batches and average the gradients.
    """

    def __init__(
        self,
        config: TrainingConfig,
        batches: Callable[[int, int], Generator[tuple[int, torch.Tensor], None, None]],
        folder: str | Path,
        validate: Callable[[DiffusionPrior], Mapping[str, float]] | None = None,
        place: Place | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.batches, self.folder, self.validate = config, batches, Path(folder), validate
        self.place, self.data = place or Place(), dict(data or {})
        self.device = self.place.device
        self.schedule = NoiseSchedule(**config.schedule)
        self.log = TrainingLog(self.folder, config.tensorboard, silent=self.place.rank > 0)
        torch.manual_seed(config.seed)
        self.network = networks.build(config.network).to(self.device, memory_format=torch.channels_last)
        self.step = self.slices_seen = 0
        self.seconds = 0.0
        self._warm_from = 0  # step at which the moments of the optimiser were fresh
        self._losses: list[torch.Tensor] = []  # since the last entry of the log
        self._whole = True  # whether weights, average and step belong together
        self._before = Custody()  # the data of the weights before this run
        if config.start_from:
            self._begin_with(config.start_from)
        self._weights = self.network.state_dict()
        self.average = {name: t.detach().clone() for name, t in self._weights.items()}
        self.optimizer = self._optimizer()
        self._resume()
        self._began = self.step
        self._custody = self._before.run(self.data, self.step)
        if self.place.rank == 0:
            for sentence in self._custody.changes(self._before):
                warnings.warn(sentence, stacklevel=2)

    # ---- running ---------------------------------------------------------------------------------------------

    def run(
        self, stop_after: float | None = None, progress: Callable[[int, Mapping[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Train to the last step, or until `stop_after` seconds are over; saves what there is in either case.

        Parameters
        ----------
        stop_after
            Seconds.
        progress
            Called after every step with the number of steps done and the last entry of the log.

        Returns
        -------
        dict
            The last entry of the log.

        Raises
        ------
        DataError
            If the loss or the weights are no longer finite; the checkpoint is then from before.
        KeyboardInterrupt
            On Ctrl-C or SIGTERM, after the step that was going on, with everything saved.
        """
        began, earlier = time.monotonic(), self.seconds
        entry = next((e for e in reversed(self.log.entries()) if "loss" in e), {"step": self.step})
        if self.step >= self.config.steps:
            self.save()
            return entry
        network = self._parallel()
        signals = signal.SIGINT, signal.SIGTERM
        with asked_to_stop(*signals) as asked, contextlib.closing(self.batches(self.step, self.place.rank)) as batches:
            try:
                mark, seen = time.monotonic(), self.slices_seen
                for step, slices in batches:
                    self._losses.append(self._one_step(network, step, slices))
                    self.seconds = earlier + time.monotonic() - began
                    last = self.step >= self.config.steps
                    if last or self.step % self.config.log_every == 0:
                        rate = (self.slices_seen - seen) / (time.monotonic() - mark)
                        entry = self._log_losses(rate)
                    validated = self.validate and (last or self.step % self.config.validate_every == 0)
                    if validated:
                        self._validate()
                    late = stop_after is not None and time.monotonic() - began > stop_after
                    stop = self._agreed(asked.is_set() or late)
                    saved = not (last or stop) and self.step % self.config.save_every == 0
                    if saved:
                        self.save()
                    if progress is not None:
                        progress(self.step, entry)
                    if last or stop:
                        break
                    if validated or saved or not self._losses:
                        mark, seen = time.monotonic(), self.slices_seen
                self.save()
            except BaseException as error:
                self._save_after(error)
                raise
        if asked.is_set() and self.step < self.config.steps:
            raise KeyboardInterrupt
        return entry

    def prior(self) -> DiffusionPrior:
        """Return the prior with the averaged weights, computing where the training does."""
        config = self.config
        settings = {k: v for k, v in config.to_dict().items() if k not in UNRECORDED}
        own = {name: getattr(config, name) for name in ("name", "data_scale", "voxel_sizes", "target", "precision")}
        prior = DiffusionPrior(
            config.network,
            **own,
            schedule=self.schedule,
            training={
                "settings": settings,
                "data": self._data(),
                "steps": self.step,
                "slices": self.slices_seen,
                "seconds": round(self.seconds, 1),
                "device": self.place.describe(),
                "processes": self.place.world,
                "versions": {"mrrecon": __version__, "torch": str(torch.__version__)},
            },
        )
        prior.network.load_state_dict(self.average)
        prior.to(self.device)
        return prior

    def save(self) -> None:
        """Write the checkpoint and the prior (weights in half precision, with its card); only the first process does.

        Raises
        ------
        DataError
            If weights are not finite; nothing is replaced then.
        """
        tensors = [*self._weights.values(), *self.average.values()]
        if not bool(torch.stack([t.isfinite().all() for t in tensors]).all()):
            raise self._diverged()
        if self.place.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        optimizer: dict[str, torch.Tensor] = {}
        for i, state in self.optimizer.state_dict()["state"].items():
            optimizer.update({f"{i}.{name}": torch.as_tensor(value) for name, value in state.items()})
        save_checkpoint(
            self.folder / "checkpoint.safetensors",
            self.step,
            {"weights": self._weights, "average": self.average, "optimizer": optimizer},
            {
                "config": self.config.to_dict(),
                "slices": self.slices_seen,
                "seconds": self.seconds,
                "losses": [float(loss) for loss in self._losses],
                "warm_from": self._warm_from,
                "data": self._data(),
            },
        )
        prior = self.prior()
        prior.network.half()
        prior.save(self.folder / "prior", model_card(prior.config(), prior.parameters(), self.log.entries()))

    def _data(self) -> dict[str, Any]:
        """What the weights were ever trained on; a run that has not done a step yet changes nothing of that."""
        untouched = self.step == self._began and self.step > 0
        return (self._before if untouched else self._custody).to_dict()

    # ---- one step --------------------------------------------------------------------------------------------

    def _one_step(self, network: nn.Module, step: int, slices: torch.Tensor) -> torch.Tensor:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(step)
        seed = _seed(config.seed, step, self.place.rank)
        loss = diffusion_loss(network, slices.to(self.device), self.schedule, config, seed)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self._whole = False
        self.optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self._weights.values()), 1 - decay)
        self.step = step + 1
        self.slices_seen += len(slices) * self.place.world
        self._whole = True
        return loss.detach()

    def _rate(self, step: int) -> float:
        config = self.config
        warm = min(1.0, (step + 1 - self._warm_from) / max(1, config.warmup))
        return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))

    def _optimizer(self) -> torch.optim.Optimizer:
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        has_fused = self.device.type == "cuda" or torch.torch_version.TorchVersion(torch.__version__) >= (2, 4)
        return torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=self.config.learning_rate,
            betas=(0.9, 0.99),
            fused=has_fused,
        )

    def _parallel(self) -> nn.Module:
        network: nn.Module = self.network.train()
        if self.place.world > 1:
            where = [self.device] if self.device.type == "cuda" else None
            network = nn.parallel.DistributedDataParallel(network, device_ids=where)
        # slices come in many sizes: without dynamic shapes each would be compiled anew
        return torch.compile(network, dynamic=True) if self.config.compile else network

    # ---- logging ---------------------------------------------------------------------------------------------

    def _log_losses(self, rate: float) -> dict[str, Any]:
        loss = self.place.mean(float(torch.stack(self._losses).mean()))
        self._losses.clear()
        if not math.isfinite(loss):
            raise self._diverged()
        return self._log(loss=loss, slices_per_second=rate, learning_rate=self._rate(self.step - 1))

    def _validate(self) -> None:
        if self.validate is not None and self.place.rank == 0:
            self._log(validation=dict(self.validate(self.prior())))

    def _log(self, **values: Any) -> dict[str, Any]:
        entry = {"step": self.step, **values, "slices": self.slices_seen, "seconds": round(self.seconds, 1)}
        self.log.add(entry)
        return entry

    def _diverged(self) -> DataError:
        return DataError(
            f"The training of {self.config.name} is no longer finite at step {self.step}: lower learning_rate and run "
            f"it again; it goes on from the last checkpoint in {self.folder}, which is from before, if there is one."
        )

    def _agreed(self, stop: bool) -> bool:
        """Whether any process has to stop, so that none waits for one that did."""
        if self.place.world == 1:
            return stop
        return self.step % AGREE_EVERY == 0 and self.place.any(stop)

    def _save_after(self, error: BaseException) -> None:
        """Keep what was done before something went wrong, if that is possible; `error` stays what is reported."""
        if not self._whole:
            return
        try:
            self.save()
        except (MRReconError, PriorError, OSError, RuntimeError) as second:
            error.add_note(f"The steps since the last checkpoint could not be saved: {second}")

    # ---- going on --------------------------------------------------------------------------------------------

    def _begin_with(self, name_or_folder: str) -> None:
        start = load(name_or_folder)
        self._before = Custody.of_prior(start.name, getattr(start, "training", {}))
        try:
            self.network.load_state_dict(start.state())
        except RuntimeError as error:
            raise DataError(
                f"The prior {name_or_folder!r} of the setting start_from has another network than the setting network."
            ) from error

    def _resume(self) -> None:
        """Go on with the training that the folder has, if it has one."""
        path, prior = self.folder / "checkpoint.safetensors", self.folder / "prior"
        if path.exists():
            step, groups, settings = load_checkpoint(path)
            self._compare(path, settings["config"])
            try:
                self.network.load_state_dict(groups["weights"])
                for name, tensor in self.average.items():
                    tensor.copy_(groups["average"][name])
                self._load_moments(groups.get("optimizer", {}))
            except (RuntimeError, KeyError, ValueError) as error:
                raise FileFormatError(
                    f"{path} has not the tensors that its own settings mean; it is damaged: delete it."
                ) from error
            self.slices_seen, self.seconds = settings["slices"], settings["seconds"]
            self._losses = [torch.tensor(loss, device=self.device) for loss in settings.get("losses", [])]
            self._warm_from = settings.get("warm_from", 0)
            self._before = self._before.resumed(settings.get("data"), prior)
        elif (prior / "config.json").exists():
            loaded = load(prior)
            record = getattr(loaded, "training", {})
            if not {"settings", "steps", "slices", "seconds"} <= record.keys():
                raise DataError(f"{prior} is not of a training that could go on; choose another output folder.")
            self._compare(prior, {**self.config.to_dict(), **record["settings"]})
            self.network.load_state_dict(loaded.state())
            for name, tensor in self.average.items():
                tensor.copy_(self._weights[name])
            step, self.slices_seen, self.seconds = record["steps"], record["slices"], record["seconds"]
            self._warm_from = step
            self._before = self._before.resumed(record.get("data"), prior)
        else:
            step = 0
        self.step = step
        self.log.forget_after(step)

    def _compare(self, path: Path, then: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self.config.to_dict()))
        for name, value in now.items():
            if name not in FREE and name in then and then[name] != value:
                raise DataError(
                    f"{path} is of a training with another {name} ({then[name]!r}, now {value!r}); choose another "
                    "output folder, or give back the old setting."
                )

    def _load_moments(self, tensors: Mapping[str, torch.Tensor]) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            like = parameters[int(index)]
            if tensor.shape == like.shape:  # the fused optimiser wants the memory layout of the weights
                tensor = torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
            state.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 1009 + rank
