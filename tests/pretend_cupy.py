"""A strict stand-in for CuPy on machines without a GPU: NumPy underneath, CuPy's rules on top.

What would fail on a GPU fails here: implicit conversion to NumPy, operands of both kinds in one operation, names,
keywords and attributes that CuPy does not have, NumPy arrays for ``out``. Whatever leaves the device is counted in
:data:`traffic`. The names and keywords allowed are those that CuPy 13.6 and 14.2 both have;
``test_pretend_gpu.py`` compares them with the real package where that is installed.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from numpy.lib.mixins import NDArrayOperatorsMixin


def _each(names: str, keywords: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), keywords)


UFUNC = "out dtype casting"
REDUCTION = "axis dtype out keepdims"
FUNCTIONS = {
    **_each(
        "abs absolute add subtract multiply divide true_divide floor_divide remainder power negative sqrt square exp "
        "log sin cos conj conjugate maximum minimum isfinite isnan isinf sign equal not_equal less less_equal greater "
        "greater_equal logical_and logical_or logical_not bitwise_and bitwise_or bitwise_xor invert matmul",
        UFUNC,
    ),
    **_each("zeros ones empty", "shape dtype order"),
    **_each("zeros_like ones_like", "a dtype order subok shape"),
    "empty_like": "prototype dtype order subok shape",
    **_each("sum prod mean", f"a {REDUCTION}"),
    **_each("any all max min amax amin", "a axis out keepdims"),
    **_each("argmax argmin", "a axis out"),
    **_each("triu tril", "m k"),
    "angle": "z deg",
    "arange": "start stop step dtype",
    "array": "obj dtype copy order subok ndmin",
    "asarray": "a dtype order",
    "ascontiguousarray": "a dtype",
    "broadcast_to": "array shape",
    "clip": "a a_min a_max out",
    "concatenate": "tup axis out",
    "copyto": "dst src casting where",
    "diff": "a n axis prepend append",
    "einsum": "optimize dtype",
    "expand_dims": "a axis",
    "eye": "N M k dtype order",
    "full": "shape fill_value dtype order",
    "imag": "val",
    "may_share_memory": "a b max_work",
    "moveaxis": "a source destination",
    "percentile": "a q axis out overwrite_input method keepdims",
    "real": "val",
    "roll": "a shift axis",
    "stack": "tup axis out",
    "swapaxes": "a axis1 axis2",
    "take": "a indices axis out",
    "tensordot": "a b axes",
    "vdot": "a b",
    "where": "condition x y",
}
FFT = {
    **_each("fft ifft", "a n axis norm"),
    **_each("fft2 ifft2 fftn ifftn", "a s axes norm"),
    **_each("fftshift ifftshift", "x axes"),
}
LINALG = {
    "cholesky": "a",
    "eigh": "a UPLO",
    "eigvalsh": "a UPLO",
    "inv": "a",
    "norm": "x ord axis keepdims",
    "qr": "a mode",
    "solve": "a b",
    "svd": "a full_matrices compute_uv",
}
SCIPY_FFT = {
    **_each("fft ifft", "x n axis norm overwrite_x plan"),
    **_each("fft2 ifft2 fftn ifftn", "x s axes norm overwrite_x plan"),
}
CONSTANTS = _each("pi inf nan newaxis bool_ int8 int32 int64 uint8 float32 float64 complex64 complex128 dtype", "")
FROM_HOST = {"array", "asarray"}  # what takes NumPy arrays


@dataclass
class Traffic:
    """What crossed between device and host: sizes of the arrays fetched and sent, numbers waited for."""

    fetched: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    numbers: int = 0


traffic = Traffic()


def _host(value, what):
    """Return the NumPy value behind an operand; NumPy arrays are refused, as CuPy does."""
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"{what}: Unsupported type <class 'numpy.ndarray'>; CuPy takes no NumPy arrays")
    if isinstance(value, (list, tuple)):
        return type(value)(_host(v, what) for v in value)
    return value


def _device(result):
    if isinstance(result, tuple):
        return tuple(_device(r) for r in result)
    return DeviceArray(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def _into(out, what):
    if not isinstance(out, DeviceArray):
        raise TypeError(f"{what}: return arrays must be of ArrayType, got {type(out)}")
    return out._host


class Flags:
    """The flags of cupy.ndarray; there is neither ``writeable`` nor ``carray``."""

    def __init__(self, host):
        self.c_contiguous, self.f_contiguous = host.flags.c_contiguous, host.flags.f_contiguous
        self.owndata = host.flags.owndata


def _reduction(name, extra=""):
    allowed = f"axis out keepdims {extra}".split()

    def method(self, *args, **kwargs):
        _check_keywords(name, kwargs, allowed)
        return getattr(pretend, name)(self, *args, **kwargs)

    return method


def _check_keywords(name, kwargs, allowed):
    unknown = set(kwargs) - set(allowed)
    if unknown:
        raise TypeError(f"cupy.{name} got an unexpected keyword argument {sorted(unknown)}")


class DeviceArray(NDArrayOperatorsMixin):
    """Stands for cupy.ndarray."""

    def __init__(self, host):
        assert type(host) is np.ndarray
        self._host = host

    # ---- what CuPy refuses, and the ways out ---------------------------------------------------------------

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def get(self):
        traffic.fetched.append(self.size)
        return self._host.copy()

    def _number(self):
        if self.size != 1:
            raise (TypeError if self.size else ValueError)(f"only one element can be converted, got {self.shape}")
        traffic.numbers += 1
        return self._host.reshape(-1)[0]

    def item(self):
        return self._number().item()

    def __float__(self):
        return float(self._number())

    def __int__(self):
        return int(self._number())

    def __complex__(self):
        return complex(self._number())

    def __index__(self):
        if self.ndim:
            raise TypeError("only integer scalar arrays can be converted to a scalar index")
        return self._number().__index__()

    def __bool__(self):
        if self.size != 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return bool(self._number())

    # ---- dispatch from NumPy -------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        name = ufunc.__name__
        if method != "__call__" or name not in FUNCTIONS:
            raise TypeError(f"CuPy has no {name}.{method}, or it is not in FUNCTIONS of pretend_cupy.py")
        _check_keywords(name, kwargs, UFUNC.split())
        outputs = kwargs.pop("out", None)
        if outputs is not None:
            kwargs["out"] = tuple(_into(o, name) for o in outputs)
        result = getattr(ufunc, method)(*(_scalar_or_array(v, name) for v in inputs), **kwargs)
        return outputs[0] if outputs is not None else _device(result)

    def __array_function__(self, function, kinds, args, kwargs):
        return getattr(pretend, function.__name__)(*args, **kwargs)

    # ---- attributes ----------------------------------------------------------------------------------------

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host))
    T = property(lambda self: DeviceArray(self._host.T))
    real = property(lambda self: DeviceArray(self._host.real))
    imag = property(lambda self: DeviceArray(self._host.imag))

    def __repr__(self):
        return f"DeviceArray({self.shape}, {self.dtype})"

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (DeviceArray(np.asarray(part)) for part in self._views())

    def _views(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self._host[i, ...] for i in range(len(self)))

    # ---- indexing ------------------------------------------------------------------------------------------

    @staticmethod
    def _index(key):
        """Indices may be NumPy arrays and lists too: CuPy sends them to the device."""
        return tuple(i._host if isinstance(i, DeviceArray) else i for i in (key if isinstance(key, tuple) else (key,)))

    def __getitem__(self, key):
        return DeviceArray(np.asarray(self._host[self._index(key)]))

    def __setitem__(self, key, value):
        self._host[self._index(key)] = _scalar_or_array(value, "__setitem__")

    # ---- methods -------------------------------------------------------------------------------------------

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return DeviceArray(self._host.astype(dtype, order=order))

    def view(self, dtype=None):
        return DeviceArray(self._host.view() if dtype is None else self._host.view(dtype))

    def copy(self, order="C"):
        return DeviceArray(self._host.copy(order))

    def reshape(self, *shape, order="C"):
        return DeviceArray(self._host.reshape(*shape, order=order))

    def transpose(self, *axes):
        return DeviceArray(self._host.transpose(*axes))

    def swapaxes(self, axis1, axis2):
        return DeviceArray(self._host.swapaxes(axis1, axis2))

    def ravel(self, order="C"):
        return DeviceArray(self._host.ravel(order))

    def squeeze(self, axis=None):
        return DeviceArray(self._host.squeeze(axis))

    def conj(self):
        return DeviceArray(np.asarray(self._host.conj())) if self.dtype.kind == "c" else self

    conjugate = conj

    def fill(self, value):
        self._host.fill(value)

    def take(self, indices, axis=None, out=None):
        return pretend.take(self, indices, axis, out)

    sum = _reduction("sum", "dtype")
    prod = _reduction("prod", "dtype")
    mean = _reduction("mean", "dtype")
    max = _reduction("max")
    min = _reduction("min")
    any = _reduction("any")
    all = _reduction("all")
    argmax = _reduction("argmax")
    argmin = _reduction("argmin")


DeviceArray.__module__, DeviceArray.__qualname__ = "cupy", "ndarray"


def _scalar_or_array(value, what):
    if isinstance(value, (DeviceArray, bool, int, float, complex, np.generic)):
        return _host(value, what)
    raise TypeError(f"{what}: Unsupported type {type(value)}")


class Namespace(types.ModuleType):
    """A module with the functions of `library` that are in `functions`, and nothing else."""

    def __init__(self, name, library, functions):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for key, keywords in functions.items():
            setattr(self, key, _function(key, getattr(library, key), keywords.split()))

    def __getattr__(self, name):
        raise AttributeError(f"{self.__name__} of pretend_cupy.py has no {name!r}; if CuPy has it, add it there")


def _function(name, function, keywords):
    positional = {"where": 3, "sum": 5, "take": 4, "clip": 4}.get(name)

    def call(*args, **kwargs):
        _check_keywords(name, kwargs, keywords)
        if positional is not None and len(args) > positional:
            raise TypeError(f"cupy.{name} takes {positional} positional arguments, got {len(args)}")
        if name == "where" and not isinstance(args[0], DeviceArray):
            raise TypeError(f"cupy.where: the condition must be an array, got {type(args[0])}")
        if name in FROM_HOST:
            return _from_anything(name, *args, **kwargs)
        if name == "ascontiguousarray" and not isinstance(args[0], DeviceArray):
            raise TypeError(f"Argument 'a' has incorrect type (expected cupy.ndarray, got {type(args[0])})")
        if name == "may_share_memory":
            return function(*(_host(a, name) for a in args))
        out = kwargs.pop("out", None)
        target = {} if out is None else {"out": _into(out, name)}
        result = function(*(_host(a, name) for a in args), **{k: _host(v, name) for k, v in kwargs.items()}, **target)
        return out if out is not None else _device(result)

    return call


def _from_anything(name, value, dtype=None, **kwargs):
    """cupy.array and cupy.asarray: the doors from the host."""
    if isinstance(value, DeviceArray):
        made = getattr(np, name)(value._host, dtype, **kwargs)
        return value if made is value._host else DeviceArray(made)
    made = np.array(_host(value, name) if isinstance(value, (list, tuple)) else value, dtype)
    if made.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {made.dtype}")
    traffic.sent.append(made.size)
    return DeviceArray(np.array(made, **{k: v for k, v in kwargs.items() if k == "order"}))


def _cupyx_fft(name):
    def call(x, *args, plan=None, overwrite_x=False, **kwargs):
        result = getattr(scipy.fft, name)(x, *args, **kwargs)
        if overwrite_x:
            x[...] = np.nan  # may hold anything after
        return result

    return call


def _make():
    cupy = Namespace("cupy", np, FUNCTIONS)
    cupy.ndarray = DeviceArray
    for name in CONSTANTS:
        setattr(cupy, name, getattr(np, name))
    cupy.fft = Namespace("cupy.fft", np.fft, FFT)
    cupy.linalg = Namespace("cupy.linalg", np.linalg, LINALG)
    cupy.get_array_module = lambda *arrays: cupy if any(isinstance(a, DeviceArray) for a in arrays) else np
    cupy.asnumpy = lambda a: a.get() if isinstance(a, DeviceArray) else np.asarray(a)
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda device: {"name": b"Pretended", "totalGlobalMem": 8 << 30},
        getDevice=lambda: 0,
        CUDARuntimeError=type("CUDARuntimeError", (RuntimeError,), {}),
    )
    cupy.cuda = types.SimpleNamespace(runtime=runtime, Device=type("Device", (), {}))
    return cupy


pretend = _make()


def install(monkeypatch):
    """Make ``import cupy`` find the stand-in for one test, and return it; the engine runs its plain kernels."""
    import mrrecon.operators.encoding as encoding
    from mrrecon.operators.kernels import reference

    transforms = {name: _cupyx_fft(name) for name in SCIPY_FFT}
    for name, module in {
        "cupy": pretend,
        "cupyx": Namespace("cupyx", None, {}),
        "cupyx.scipy": Namespace("cupyx.scipy", None, {}),
        "cupyx.scipy.fft": Namespace("cupyx.scipy.fft", types.SimpleNamespace(**transforms), SCIPY_FFT),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    choose = encoding.encoding_kernels
    monkeypatch.setattr(encoding, "encoding_kernels", lambda xp: reference if xp is pretend else choose(xp))
    traffic.__init__()
    return pretend
