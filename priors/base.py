"""The one interface of every prior: what it takes to say how a noisy complex slice would look without noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
import torch

from mrrecon.errors import PriorError, PriorFailure, PriorInputError
from mrrecon.priors.schedule import NoiseSchedule

__all__ = ["Condition", "NoisePredictor", "SlicePrior"]


@dataclass(frozen=True)
class Condition:
    """What is known about a batch of slices besides their pixels; priors use what they can and ignore the rest.

    Parameters
    ----------
    plane
        Axis of the volume that the slices are perpendicular to: 0, 1 or 2.
    depth
        Position along that axis, -1 (first slice) to 1 (last slice), one number or one per slice.
    voxel_size
        In-plane voxel edges, mm.
    image
        Picture that the slices belong to (an acquired slice, an X-ray, a projection), ``(H, W)`` or ``(B, H, W)``.
    mask
        Segmentation of the slices, ``(B, H, W)``, whole numbers.
    features
        Vector of descriptors (class, diagnosis, contrast), ``(F,)`` or ``(B, F)``.
    """

    plane: int | None = None
    depth: Any = None
    voxel_size: tuple[float, float] | None = None
    image: Any = None
    mask: Any = None
    features: Any = None

    def __post_init__(self) -> None:
        if self.plane not in (None, 0, 1, 2):
            raise PriorInputError(f"Condition.plane must be 0, 1 or 2, got {self.plane!r}.")
        if self.voxel_size is not None and not (len(self.voxel_size) == 2 and min(self.voxel_size) > 0):
            raise PriorInputError(f"Condition.voxel_size must be two positive edges in mm, got {self.voxel_size!r}.")

    def part(self, chosen: slice) -> Condition:
        """Return the condition of some slices of the batch."""
        batched = {"depth": 1, "image": 3, "mask": 3, "features": 2}
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, ndim in batched.items():
            if values[name] is not None and np.ndim(values[name]) == ndim:
                values[name] = values[name][chosen]
        return Condition(**values)


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
        Which noise the times of :meth:`predict_noise` mean.
    data_scale
        Value inside diffusion states of an image value of one, one being the level of bright tissue (the unit signal of
        the solvers).
    voxel_sizes
        Smallest and largest in-plane voxel edge, mm, that the prior was made for; None: any.
    """

    name: str = "prior"
    schedule: NoiseSchedule = NoiseSchedule()
    data_scale: float = 1.0
    voxel_sizes: tuple[float, float] | None = None

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

    def _predict_noise(self, state: torch.Tensor, t: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        """Noise in diffusion states ``(B, H, W)`` at times ``(B, 1, 1)``, from the denoised slices."""
        alpha, sigma = (f(t).float() for f in (self.schedule.alpha, self.schedule.sigma))
        scale = self.data_scale
        clean = scale * self._checked(self._denoise(state / (alpha * scale), sigma / (alpha * scale), condition), state)
        return (state - alpha * clean) / sigma.clamp_min(1e-12)

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
        return restore(self._answer(self._denoise, slices / scale, levels / scale, condition) * scale)

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

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        # The state at the time of this noise level; more noise than the schedule knows counts as its last level.
        t = self.schedule.time(sigma * self.data_scale)
        state = self.schedule.alpha(t).float() * self.data_scale * noisy
        return noisy - sigma * self._checked(self._predict_noise(state, t, condition), state)


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
