"""The Linops: against sigpy's, inside sigpy's apps, through pickle, and inside torch graphs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sigpy
import sigpy.mri

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators import FFT, Sense, autograd, check_adjoint


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def problem(rng):
    shape = (6, 9, 8)
    return draw(rng, 4, *shape), rng.random(shape[1:]) < 0.6, draw(rng, *shape), draw(rng, 4, *shape)


def assert_close(a, b, tol=3e-6):
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) <= tol * np.linalg.norm(b)


def test_matches_sigpy(problem):
    maps, mask, x, y = problem
    weights = np.broadcast_to(mask, y.shape).astype(np.float32)
    theirs = sigpy.mri.linop.Sense(maps, weights=weights)
    ours = Sense(maps, mask, readout_domain="kspace")
    assert ours.ishape == list(theirs.ishape)
    assert ours.oshape == list(theirs.oshape)
    assert_close(ours(x), theirs(x))
    assert_close(ours.H(y), theirs.H(y))
    assert_close(ours.N(x), theirs.N(x))
    hybrid = Sense(maps, mask)
    assert_close(hybrid.N(x), theirs.N(x))
    assert_close(hybrid(x), FFT(y.shape, (1,)).H(theirs(x)))


def test_composes_with_sigpy(problem):
    maps, mask, x, y = problem
    A = Sense(maps, mask)
    weights = np.linspace(1, 2, 8, dtype=np.float32)
    B = sigpy.linop.Multiply(A.oshape, weights) * A
    assert_close(B(x), weights * A(x))
    assert check_adjoint(B) < 1e-5
    assert_close((A.H * A)(x), A.N(x))
    assert_close((2 * A + A)(x), 3 * A(x))
    assert_close((A.H * y), A.H(y))
    assert_close((A * sigpy.linop.FFT(A.ishape).H)(x), A(sigpy.ifft(x)))
    stacked = sigpy.linop.Vstack([A, sigpy.linop.Identity(A.ishape)])
    assert check_adjoint(stacked) < 1e-5
    assert A.H.H is A
    assert A.N.H is A.N
    assert repr(A) == "<[4, 6, 9, 8]x[6, 9, 8]> Sense Linop>"


def test_serves_sigpy_apps(problem):
    maps, _, x, _ = problem
    A = Sense(maps, np.ones(x.shape[1:], bool))
    app = sigpy.app.LinearLeastSquares(A, A(x), max_iter=100, show_pbar=False)
    assert_close(app.run(), x, 1e-3)
    assert sigpy.app.MaxEig(A.N, np.complex64, max_iter=200, show_pbar=False).run() <= A.lipschitz() * (1 + 1e-5)


def test_pickle(problem):
    maps, mask, x, y = problem
    A = Sense(maps, mask, "kspace")
    assert A.H.H is A
    copy = pickle.loads(pickle.dumps(A))
    assert np.array_equal(copy(x), A(x))
    assert np.array_equal(copy.N(x), A.N(x))
    assert np.array_equal(pickle.loads(pickle.dumps(A.H))(y), A.H(y))
    assert np.array_equal(pickle.loads(pickle.dumps(FFT((3, 4))))(x[0, :3, :4]), FFT((3, 4))(x[0, :3, :4]))


def test_fft_linop(rng):
    F = FFT((5, 6, 7), (0, 2))
    assert check_adjoint(F) < 1e-5
    x = draw(rng, 5, 6, 7)
    assert_close(F(x), sigpy.fft(x, axes=(0, 2)))
    assert_close(F.H(F(x)), x)
    assert F.N(x) is x
    with pytest.raises(ShapeError, match=r"FFT: input has shape \(5, 6\), expected \(5, 6, 7\)"):
        F(x[..., 0])


def test_errors_stay_typed(problem):
    maps, mask, x, _ = problem
    A = Sense(maps, mask)
    with pytest.raises(ShapeError, match=r"image has shape \(6, 8, 9\), maps expect \(6, 9, 8\) \[x y z\]; tr"):
        A(x.swapaxes(1, 2))
    with pytest.raises(ShapeError, match="kspace has shape"):
        A.H(x)
    with pytest.raises(DataError, match="dtype bool"):
        A.N(x.real > 0)


# ---- torch -------------------------------------------------------------------------------------------------


def plain_torch(maps, mask, x, readout_domain):
    """The model from torch's own parts, which torch can differentiate itself."""
    import torch

    axes = (-3, -2, -1) if readout_domain == "kspace" else (-2, -1)
    shifted = torch.fft.ifftshift((maps * x[:, None]).sum(0), axes)
    return mask * torch.fft.fftshift(torch.fft.fftn(shifted, dim=axes, norm="ortho"), axes)


def torch_case(rng, readout_domain, device="cpu"):
    import torch

    shape = (4, 5, 6)
    maps, mask = draw(rng, 2, 3, *shape), rng.random(shape[1:]) < 0.6
    on_device = [torch.from_numpy(a).to(device) for a in (maps, mask)]
    x = torch.from_numpy(draw(rng, 2, *shape)).to(device)
    return Sense(*on_device, readout_domain), (lambda v: plain_torch(*on_device, v, readout_domain)), x


def gradients(f, x, data):
    """First derivative of a nonlinear loss, and second derivative along a direction."""
    import torch

    x = x.clone().requires_grad_()
    loss = ((f(x) - data).abs() ** 4).sum() + f(x.real).real.sum()
    (first,) = torch.autograd.grad(loss, x, create_graph=True)
    (second,) = torch.autograd.grad((first.abs() ** 2).sum(), x)
    return loss.detach(), first.detach(), second


def compare_gradients(A, plain, x):
    f = autograd(A)
    data = plain(x) * 0.5 + 1
    for ours, theirs in zip(gradients(f, x, data), gradients(plain, x, data), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.device == theirs.device
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("readout_domain", ["image", "kspace"])
def test_autograd_matches_torch(rng, readout_domain):
    pytest.importorskip("torch")
    compare_gradients(*torch_case(rng, readout_domain))


def test_autograd_of_adjoint_and_of_foreign_linops(rng):
    torch = pytest.importorskip("torch")
    A, _, x = torch_case(rng, "image")
    y = torch.from_numpy(draw(rng, *A.oshape)).requires_grad_()
    v = torch.from_numpy(draw(rng, *A.ishape))
    (gradient,) = torch.autograd.grad(autograd(A.H)(y), y, v)
    assert torch.allclose(gradient, A(v), atol=1e-5)
    F = sigpy.linop.FFT(A.ishape)
    x = x.requires_grad_()
    autograd(F)(x).abs().square().sum().backward()
    assert torch.allclose(x.grad, 2 * x.detach(), atol=1e-4)


def test_gradcheck_in_double_precision(rng):
    torch = pytest.importorskip("torch")
    F = autograd(FFT((2, 3, 2)))
    x = torch.from_numpy(draw(rng, 2, 3, 2).astype(np.complex128)).requires_grad_()
    assert torch.autograd.gradcheck(F, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(F, (x,))
    real = torch.ones(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(F, (real,))


def test_torch_tensors_without_gradients(rng):
    torch = pytest.importorskip("torch")
    A, plain, x = torch_case(rng, "image")
    assert torch.allclose(A(x), plain(x), atol=1e-5)
    assert torch.allclose(A.H(A(x)), A.N(x), atol=1e-4)
    with pytest.raises(DataError, match="requires grad"):
        A(x.requires_grad_())


@pytest.mark.gpu
@pytest.mark.parametrize("readout_domain", ["image", "kspace"])
def test_autograd_on_gpu(rng, readout_domain):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs torch with CUDA")
    compare_gradients(*torch_case(rng, readout_domain, "cuda"))


@pytest.mark.gpu
def test_sense_on_gpu(problem):
    import cupy

    maps, mask, x, y = problem
    here, there = Sense(maps, mask), Sense(cupy.asarray(maps), cupy.asarray(mask))
    assert_close(there(cupy.asarray(x)).get(), here(x))
    assert_close(there.H(cupy.asarray(y)).get(), here.H(y))
    assert_close(there.N(cupy.asarray(x)).get(), here.N(x))
    assert check_adjoint(there) < 1e-4
    copy = pickle.loads(pickle.dumps(there))
    assert_close(copy(cupy.asarray(x)).get(), here(x))
