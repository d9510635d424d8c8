"""The one interface of every prior: what it takes to say how a noisy complex slice would look without noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrrecon.errors import PriorError, PriorFailure, PriorInputError
from mrrecon.priors.condition import KNOWN, Condition, cut_known
from mrrecon.priors.saving import save_prior
from mrrecon.priors.schedule import NoiseSchedule, Spacing

__all__ = ["GivenPrior", "NoisePredictor", "SlicePrior", "moved"]


class SlicePrior(ABC):
    """A model of 2D complex MR slices, seen as a denoiser at every noise level.

    A subclass implements :meth:`_denoise` and inherits the rest:

    >>> class Wiener(SlicePrior):  # pixels independent, N(0, 1) per real component
    ...     name = "wiener"
    ...     def _denoise(self, noisy, sigma, condition):
    ...         return noisy / (1 + sigma**2)
    >>> import numpy as np
    >>> Wiener().denoise(np.full((1, 4, 4), 2 + 2j, np.complex64), sigma=1.0)[0, 0, 0]
    np.complex64(1+1j)

    Attributes
    ----------
    name
        What the prior is called in tables and files.
    schedule
        Where the noise levels of :meth:`levels` come from; diffusion models have their own.
    data_scale
        Value inside diffusion states of an image value of one, one being the level of bright tissue (the unit signal of
        the solvers).
    voxel_sizes
        Smallest and largest in-plane voxel edge, mm, that the prior was made for; None: any.
    window
        Number of neighbouring slices that it looks at together. Above one, it is given stacks: batches of neighbouring
        slices in order, of any number, which it divides itself.
    needs
        Parts of the condition without which it cannot work: ``"image"``, ``"mask"``, ``"features"``.
    """

    name: str = "prior"
    schedule: NoiseSchedule = NoiseSchedule()
    data_scale: float = 1.0
    voxel_sizes: tuple[float, float] | None = None
    window: int = 1
    needs: frozenset[str] = frozenset()

    @abstractmethod
    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        """Expected clean slices, at unit signal.

        Parameters
        ----------
        noisy
            ``(B, H, W)`` complex64 on :attr:`device`: clean plus white noise.
        sigma
            ``(B, 1, 1)``: standard deviation of the noise per real component; may be zero.
        condition
            What else is known, or None.
        """

    @property
    def device(self) -> torch.device:
        """Where the computation happens."""
        return torch.device("cpu")

    def denoise(self, noisy: Any, sigma: Any, condition: Condition | None = None, *, scale: float = 1.0) -> Any:
        """Tweedie estimate: the expected clean slices given noisy ones.

        Parameters
        ----------
        noisy
            Complex slices ``(B, H, W)`` or one slice ``(H, W)``, any size: NumPy, CuPy or torch. Noise is white.
        sigma
            Standard deviation of the noise per real component, in the units of the slices: one, or one per slice.
        condition
            What else is known about the slices.
        scale
            Value of bright tissue in the slices. Solvers work at unit signal, hence the default.

        Returns
        -------
        clean
            Of the shape, kind and device of `noisy`, complex64.

        Raises
        ------
        PriorInputError
            If shapes, kinds or values are not usable.
        PriorFailure
            If the prior raises an error, or returns NaN, Inf, another shape or real numbers.
        """
        if not (isinstance(scale, Real) and math.isfinite(scale) and scale > 0):
            raise PriorInputError(f"scale must be a positive number, the value of bright tissue, got {scale!r}.")
        slices, restore = self._at_the_door(noisy, "noisy")
        levels = self._per_slice(sigma, len(slices), "sigma", smallest=0.0)
        self.require_given(condition)
        return restore(self._answer(self._denoise, slices / scale, levels / scale, condition) * scale)

    def require_given(self, condition: Condition | None = None) -> None:
        """Refuse to work without what the prior needs: it must be in the condition.

        Raises
        ------
        PriorInputError
            If it is not.
        """
        missing = [name for name in sorted(self.needs) if getattr(condition, name, None) is None]
        if missing:
            raise PriorInputError(
                f"The prior {self.name} needs {' and '.join(missing)}: give it as prior.given({missing[0]}=...)."
            )

    def levels(
        self, steps: int | None = None, first: float | None = None, spacing: Spacing = "noise-level"
    ) -> list[float]:
        """Noise levels that a sampler comes down, falling, per real component at unit signal; then comes zero.

        Parameters
        ----------
        steps
            How many; by default one for each time of the schedule.
        first
            The first one; by default the highest that the prior knows, and never above that.
        spacing
            ``"noise-level"``: even in their logarithm, which keeps fine detail with few steps. ``"time"``: as the
            schedule was made.

        Raises
        ------
        PriorInputError
            If a setting is not usable, or `first` is not above the last level.
        """
        least = self.schedule.noise_level(self.schedule.first_time) / self.data_scale
        if first is not None and not first > least:
            raise PriorInputError(
                f"The first noise level must be above {least:.3g}, the last one of {self.name}, got {first!r}."
            )
        top = None if first is None else first * self.data_scale
        return [level / self.data_scale for level in self.schedule.levels(steps, top, spacing)]

    def given(self, **known: Any) -> SlicePrior:
        """Return this prior with parts of its condition known for all slices of a volume, for use in any solver.

        Parameters
        ----------
        known
            ``image=`` or ``mask=``: a volume ``(x, y, z)`` on the grid of the reconstruction, cut as slices are asked
            for, or one picture ``(H, W)``; ``features=``: a vector.

        Raises
        ------
        PriorInputError
            If there is no such part.
        """
        return GivenPrior(self, known)

    def _answer(
        self, asked: Callable[..., Any], slices: torch.Tensor, levels: torch.Tensor, condition: Condition | None
    ) -> torch.Tensor:
        """What the subclass makes of the slices."""
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled() and slices.requires_grad):
                result = asked(slices, levels, condition)
        except PriorError:
            raise
        except Exception as error:  # code of others, or a machine without memory: whatever it is, it is the prior's
            said = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise PriorFailure(f"the prior {self.name!r} failed with {type(error).__name__}: {said}") from error
        return self._checked(result, slices)

    def _checked(self, result: Any, slices: torch.Tensor) -> torch.Tensor:
        """What a subclass returned for slices, refused unless it is finite complex slices of the same shape."""
        if not isinstance(result, torch.Tensor) or result.shape != slices.shape:
            got = f"shape {tuple(result.shape)}" if isinstance(result, torch.Tensor) else type(result).__name__
            raise PriorFailure(f"the prior {self.name!r} must return shape {tuple(slices.shape)} and returned {got}")
        if not result.is_complex():
            raise PriorFailure(f"the prior {self.name!r} must return complex slices and returned {result.dtype}")
        if not bool(torch.isfinite(result.detach()).all()):
            raise PriorFailure(f"the prior {self.name!r} returned NaN or infinite values")
        return result

    def config(self) -> dict[str, Any]:
        """Settings from which :func:`mrrecon.priors.load` makes this prior again; priors that can be saved have them.

        Raises
        ------
        PriorError
            If this prior cannot be saved.
        """
        raise PriorError(f"The prior {self.name!r} ({type(self).__name__}) has no configuration and cannot be saved.")

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors that belong to the configuration: the weights; none by default."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any], state: dict[str, torch.Tensor]) -> SlicePrior:
        """Make the prior from what :meth:`config` and :meth:`state` returned.

        Raises
        ------
        PriorInputError
            If there are tensors, which priors without weights do not have.
        """
        if state:
            raise PriorInputError(f"A {cls.__name__} has no weights, got {', '.join(sorted(state)[:3])}.")
        return cls(**{name: value for name, value in config.items() if name != "kind"})

    def save(self, folder: str | Path, card: str = "") -> Path:
        """Write the prior as a folder; see :func:`mrrecon.priors.saving.save_prior`."""
        return save_prior(self, folder, card)

    def __repr__(self) -> str:
        sizes = "any voxel size" if self.voxel_sizes is None else "{:g} to {:g} mm".format(*self.voxel_sizes)
        return f"<{type(self).__name__} {self.name!r}: {sizes}, data scale {self.data_scale:g}, on {self.device}>"

    def _at_the_door(self, slices: Any, operand: str) -> tuple[torch.Tensor, Any]:
        """Slices as complex64 ``(B, H, W)`` on the prior's device, and the way back to what was given."""
        tensor, back = _as_tensor(slices, operand)
        if tensor.ndim not in (2, 3) or 0 in tensor.shape:
            raise PriorInputError(
                f"{operand} must be complex slices (batch, height, width) or one slice (height, width), got shape "
                f"{tuple(tensor.shape)}."
            )
        if not tensor.is_complex():
            raise PriorInputError(
                f"{operand} must be complex, got {tensor.dtype}; magnitude images: {operand}.astype('complex64')."
            )
        home, single = tensor.device, tensor.ndim == 2
        moved = tensor.resolve_conj().to(self.device, torch.complex64)
        if not bool(torch.isfinite(moved.detach()).all()):
            raise PriorInputError(f"{operand} has NaN or infinite values (in single precision).")

        def restore(result: torch.Tensor) -> Any:
            return back((result[0] if single else result).to(home, torch.complex64))

        return (moved[None] if single else moved), restore

    def _per_slice(
        self, value: Any, number: int, operand: str, smallest: float, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        try:
            tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value, np.float64))
        except (TypeError, ValueError) as error:
            raise PriorInputError(f"{operand} must be a number or an array of numbers, got {value!r}.") from error
        if tensor.is_complex():
            raise PriorInputError(f"{operand} must be real, got {tensor.dtype}.")
        if tensor.ndim > 1 or (tensor.ndim == 1 and len(tensor) != number):
            raise PriorInputError(
                f"{operand} must be one number or one per slice ({number}), got shape {tuple(tensor.shape)}."
            )
        if not bool((tensor >= smallest).all()) or not bool(torch.isfinite(tensor).all()):
            raise PriorInputError(f"{operand} must be finite and at least {smallest:g}.")
        return tensor.to(self.device, dtype).expand(number).reshape(number, 1, 1)


class NoisePredictor(SlicePrior):
    """A prior that is a model of the noise, as diffusion models are: a subclass implements :meth:`_predict_noise`."""

    @abstractmethod
    def _predict_noise(self, state: torch.Tensor, t: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        """Noise in diffusion states ``(B, H, W)`` at times ``(B, 1, 1)``."""

    def predict_noise(self, state: Any, t: Any, condition: Condition | None = None) -> Any:
        """Estimate of the noise in diffusion states ``x_t = alpha_t (data_scale * image) + sigma_t noise``.

        Parameters
        ----------
        state
            Complex states ``(B, H, W)`` or ``(H, W)``: NumPy, CuPy or torch.
        t
            Time of :attr:`schedule`, whole or not, one or one per slice.
        condition
            What else is known about the slices.

        Returns
        -------
        noise
            Of the shape, kind and device of `state`, complex64; each part has about unit variance.

        Raises
        ------
        PriorInputError
            If shapes, kinds or values are not usable.
        PriorFailure
            If the prior raises an error, or returns NaN, Inf, another shape or real numbers.
        """
        states, restore = self._at_the_door(state, "state")
        times = self._per_slice(t, len(states), "t", smallest=-1.0, dtype=torch.float64)
        return restore(self._answer(self._predict_noise, states, times, condition))

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        # The state at the time of this noise level; more noise than the schedule knows counts as its last level.
        t = self.schedule.time(sigma * self.data_scale)
        state = self.schedule.alpha(t).float() * self.data_scale * noisy
        return noisy - sigma * self._checked(self._predict_noise(state, t, condition), state)


class GivenPrior(SlicePrior):
    """A prior with what is known of the volume, parts of its condition by name; see :meth:`SlicePrior.given`."""

    def __init__(self, prior: SlicePrior, known: Mapping[str, Any]) -> None:
        unknown = [name for name in known if name not in KNOWN]
        if unknown:
            raise PriorInputError(f"There is no {unknown[0]} in a condition; give {', '.join(KNOWN)}.")
        self.prior, self.known = prior, dict(known)
        self.name, self.schedule, self.data_scale = prior.name, prior.schedule, prior.data_scale
        self.voxel_sizes, self.window, self.needs = prior.voxel_sizes, prior.window, prior.needs - set(known)

    @property
    def device(self) -> torch.device:
        """Where the computation happens."""
        return self.prior.device

    def to(self, device: str | torch.device) -> GivenPrior:
        """Move the prior, if it can be moved."""
        moved = self.prior.to(device) if hasattr(self.prior, "to") else self.prior
        return GivenPrior(moved, self.known)

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        told = cut_known(self.known, condition)
        for name in ("image", "mask"):
            value = getattr(told, name)
            if np.ndim(value) == 3 and np.shape(value) != tuple(noisy.shape):
                raise PriorInputError(
                    f"The {name} that {self.name} was given does not fit: the slices are {tuple(noisy.shape)}, and of "
                    f"it {np.shape(value)}; it must be on the grid of the volume."
                )
        return self.prior._denoise(noisy, sigma, told)


def moved(name: str, move: Callable[[Any], Any], device: str | torch.device) -> Any:
    """Move what a prior computes with; ``"auto"`` means a GPU if there is one.

    Raises
    ------
    PriorInputError
        If there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return move(device)
    except (RuntimeError, AssertionError) as error:
        raise PriorInputError(
            f"The prior {name!r} cannot be moved to {device!r}: {str(error).splitlines()[0]}"
        ) from error


def _as_tensor(array: Any, operand: str) -> tuple[torch.Tensor, Any]:
    """View or copy of NumPy, CuPy or torch data as a tensor on its device, and the function that turns one back."""
    if isinstance(array, torch.Tensor):
        return array, lambda tensor: tensor
    if type(array).__module__.split(".")[0] == "cupy":
        import cupy

        return torch.from_dlpack(array), lambda tensor: cupy.from_dlpack(tensor.detach().contiguous())
    if isinstance(array, (np.ndarray, np.generic)):
        if array.dtype.kind not in "fciu" or array.dtype.char in "gG":
            raise PriorInputError(f"{operand} must be numbers of at most double precision, got {array.dtype}.")
        native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        writeable = native if native.flags.writeable else native.copy()  # torch has no read-only tensors
        return torch.from_numpy(writeable), lambda tensor: tensor.detach().cpu().numpy()
    raise PriorInputError(f"{operand} must be a NumPy, CuPy or torch array, got {type(array).__name__}.")
