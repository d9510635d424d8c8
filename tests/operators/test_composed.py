"""An encoding composed with a linear map: against dense algebra, and solved on a finer grid."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators import CartesianEncoding, ComposedEncoding, Encoding, Resampling, check_adjoint
from mrrecon.operators.vectors import cg_direction, cg_update, real_dot

COARSE, FINE = (3, 5, 4), (5, 7, 6)


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def dense(forward, shape):
    """Matrix of a linear function of arrays of a shape."""
    columns = [np.ravel(forward(unit.reshape(shape))) for unit in np.eye(int(np.prod(shape)), dtype=np.complex64)]
    return np.stack(columns, axis=1).astype(np.complex128)


@pytest.fixture(params=[1, 2])
def plan(rng, request) -> Encoding:
    encoding = CartesianEncoding(draw(rng, request.param, 4, *COARSE), rng.random(COARSE[1:]) < 0.7)
    return ComposedEncoding(encoding, Resampling(FINE, COARSE))


def close(a, b, tolerance=2e-6):
    a, b = np.ravel(a), np.ravel(b)
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


def test_equals_dense_algebra(rng, plan):
    matrix = dense(plan.encoding.forward, plan.encoding.ishape) @ dense(plan.inner.forward, plan.ishape)
    image, kspace = draw(rng, *plan.ishape), draw(rng, *plan.oshape)
    expected = matrix.conj().T @ matrix @ image.ravel()
    assert plan.ishape == (*plan.encoding.ishape[:1], *FINE)
    close(plan.forward(image), matrix @ image.ravel())
    close(plan.adjoint(kspace), matrix.conj().T @ kspace.ravel())
    close(plan.normal(image), expected)
    out = np.empty_like(image)
    result, energy = plan.normal_energy(image, out=out, ridge=0.3)
    assert result is out
    close(out, expected + 0.3 * image.ravel())
    assert energy == pytest.approx(np.vdot(image, out).real, rel=1e-5)
    largest = np.linalg.eigvalsh(matrix.conj().T @ matrix)[-1]
    assert largest <= plan.lipschitz() < 4 * largest
    assert plan.trace() == pytest.approx(np.linalg.norm(matrix) ** 2, rel=0.15)
    assert plan.encoding.trace() == pytest.approx(
        np.linalg.norm(dense(plan.encoding.forward, plan.encoding.ishape)) ** 2, rel=1e-5
    )
    assert check_adjoint(plan) < 1e-5


def test_conjugate_gradients_find_the_solution_of_least_squares(rng, plan):
    kspace, ridge = plan.forward(draw(rng, *plan.ishape)), 0.02 * plan.lipschitz()
    x = np.zeros(plan.ishape, np.complex64)
    r = plan.adjoint(kspace)
    p, q, energy = r.copy(), r * 0, real_dot(r, r)
    for _ in range(60):
        curvature = plan.normal_energy(p, out=q, ridge=ridge)[1]
        before, energy = energy, cg_update(x, r, p, q, energy / curvature)
        cg_direction(p, r, energy / before)
    matrix = dense(plan.forward, plan.ishape)
    stacked = np.vstack([matrix, np.sqrt(ridge) * np.eye(x.size)])
    data = np.concatenate([kspace.ravel(), np.zeros(x.size)])
    close(x, np.linalg.lstsq(stacked, data, rcond=None)[0], 1e-4)


def test_support_is_carried_to_the_other_grid(rng):
    maps = draw(rng, 1, 2, *COARSE)
    maps[..., :2] = 0
    encoding = CartesianEncoding(maps, np.ones(COARSE[1:], bool))
    assert encoding.support().shape == (1, *COARSE)
    assert encoding.support().sum(axis=(0, 1, 2)).tolist() == [0, 0, 15, 15]
    plan = ComposedEncoding(encoding, Resampling((*COARSE[:2], 8), COARSE))
    assert plan.support().all(axis=(0, 1, 2)).tolist() == [False] * 3 + [True] * 5
    assert not plan.support()[..., :3].any()


def test_pickles(rng, plan):
    image = draw(rng, *plan.ishape)
    assert np.array_equal(pickle.loads(pickle.dumps(plan)).normal(image), plan.normal(image))


def test_misfits_are_named(rng, plan):
    image = draw(rng, *plan.ishape)
    with pytest.raises(ShapeError, match=r"returns shape \(3, 5, 5\), the encoding takes \(., 3, 5, 4\)"):
        ComposedEncoding(plan.encoding, Resampling(FINE, (3, 5, 5)))
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., x, y, z\) with \(5, 7, 6\)"):
        plan.normal(image[..., 1:])
    with pytest.raises(ShapeError, match="complex64 array of shape"):
        plan.normal(image, out=image[0])
    with pytest.raises(DataError, match="separate from the image"):
        plan.normal(image, out=image)
