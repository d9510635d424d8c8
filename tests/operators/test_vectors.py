"""The fused vector updates and the slab loop."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mrrecon.errors import ShapeError
from mrrecon.operators import vectors
from mrrecon.operators.parallel import ScratchPool, run_slabs
from mrrecon.operators.vectors import average, extrapolate, gradient_step

SHAPES = [(3, 4, 5), (41, 37, 29)]  # less and more than one chunk


def draw(rng, *shape, dtype=np.complex64):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("shape", [(3,), (5, 7, 11), (40, 41, 43)])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("strided", [False, True])
def test_updates(rng, shape, dtype, strided):
    x, r, p, q = (draw(rng, *shape, dtype=dtype) for _ in range(4))
    if strided:
        x, r, p, q = (np.repeat(v, 2, axis=-1)[..., ::2] for v in (x, r, p, q))
    expected_x, expected_r = x + 0.3 * p, r - 0.3 * q
    squared = vectors.cg_update(x, r, p, q, 0.3)
    np.testing.assert_allclose(x, expected_x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(r, expected_r, rtol=1e-5, atol=1e-6)
    assert squared == pytest.approx(np.linalg.norm(expected_r.ravel()) ** 2, rel=1e-5)
    expected_q = q + 0.4 * p
    curvature = vectors.cg_curvature(p, q, 0.4)
    np.testing.assert_allclose(q, expected_q, rtol=1e-5, atol=1e-6)
    assert curvature == pytest.approx(np.vdot(p, q).real, rel=1e-4, abs=1e-3)
    assert curvature == pytest.approx(vectors.cg_curvature(p, q), rel=1e-4, abs=1e-3)
    expected_p = r + 0.7 * p
    vectors.cg_direction(p, r, 0.7)
    np.testing.assert_allclose(p, expected_p, rtol=1e-5, atol=1e-6)
    assert vectors.real_dot(p, q) == pytest.approx(np.vdot(p, q).real, rel=1e-4, abs=1e-3)
    assert x.dtype == r.dtype == p.dtype == dtype


def test_sums_do_not_depend_on_threads(rng, monkeypatch):
    a, b = draw(rng, 300_000), draw(rng, 300_000)
    sums = []
    for threads in (1, 3):
        monkeypatch.setattr(vectors, "num_threads", lambda n=threads: n)
        sums.append(vectors.real_dot(a, b))
    assert sums[0] == sums[1] == pytest.approx(np.vdot(a, b).real, rel=1e-4, abs=0.1)


def test_read_only_operands(rng):
    x, r, p, q = (draw(rng, 50) for _ in range(4))
    p.flags.writeable = q.flags.writeable = False
    expected = x + 2 * p
    vectors.cg_update(x, r, p, q, 2.0)
    np.testing.assert_allclose(x, expected, rtol=1e-5)
    assert vectors.real_dot(p, p) == pytest.approx(np.vdot(p, p).real, rel=1e-5)


def test_shapes_are_checked(rng):
    a, b = draw(rng, 4), draw(rng, 5)
    with pytest.raises(ShapeError, match="one shape"):
        vectors.cg_update(a, a, a, b, 1.0)
    with pytest.raises(ShapeError, match="one shape"):
        vectors.cg_direction(a, b, 1.0)
    with pytest.raises(ShapeError, match="one shape"):
        vectors.real_dot(a, b)


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_every_slab_runs_once_with_its_own_scratch(threads):
    pool = ScratchPool(threading.Lock)
    seen = []

    def body(i, lock):
        assert lock.acquire(blocking=False), "two threads use one scratch object"
        seen.append(i)
        lock.release()

    run_slabs(100, body, pool, threads)
    run_slabs(0, body, pool, threads)
    assert sorted(seen) == list(range(100))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_failure_is_raised_and_stops_the_rest(threads):
    done = []

    def body(i, _):
        if i == 3:
            raise ShapeError("slab 3")
        done.append(i)

    with pytest.raises(ShapeError, match="slab 3"):
        run_slabs(100_000, body, ScratchPool(lambda: None), threads)
    assert len(done) < 100_000


@pytest.mark.gpu
def test_updates_on_gpu(rng):
    import cupy

    here = [draw(rng, 6, 7) for _ in range(4)]
    there = [cupy.asarray(v) for v in here]
    assert vectors.cg_update(*there, 0.3) == pytest.approx(vectors.cg_update(*here, 0.3), rel=1e-5)
    vectors.cg_direction(there[2], there[1], 0.7)
    vectors.cg_direction(here[2], here[1], 0.7)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_step(rng, shape):
    point, normal, target = [draw(rng, *shape) for _ in range(3)]
    expected = point - 0.7 * (normal - target)
    gradient_step(point, normal, target, 0.7)
    np.testing.assert_allclose(point, expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_extrapolate(rng, shape):
    point, new, old = [draw(rng, *shape) for _ in range(3)]
    moved, size = extrapolate(point, new, old, 0.9)
    np.testing.assert_allclose(point, new + 0.9 * (new - old), atol=1e-5)
    np.testing.assert_allclose([moved, size], [np.linalg.norm(new - old), np.linalg.norm(new)], rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_average_is_the_mean_of_what_it_was_given(rng, shape):
    given = [draw(rng, *shape) for _ in range(3)]
    mean = np.zeros(shape, np.complex64)
    for n, new in enumerate(given, start=1):
        before = mean.copy()
        moved, size = average(mean, new, 1 / n)
        np.testing.assert_allclose(moved, np.linalg.norm(mean - before), rtol=1e-4)
        np.testing.assert_allclose(size, np.linalg.norm(mean), rtol=1e-4)
    np.testing.assert_allclose(mean, np.mean(given, axis=0), atol=1e-5)


def test_shapes_of_proximal_steps_are_checked():
    a, b = np.zeros((2, 3), np.complex64), np.zeros((3, 2), np.complex64)
    for call in (lambda: gradient_step(a, b, a, 1.0), lambda: extrapolate(a, a, b, 1.0), lambda: average(a, b, 1.0)):
        with pytest.raises(ShapeError, match="one shape"):
            call()


@pytest.mark.gpu
def test_proximal_steps_on_gpu(rng):
    import cupy

    host = [draw(rng, *SHAPES[1]) for _ in range(3)]
    device = [cupy.asarray(a) for a in host]
    for on in (host, device):
        gradient_step(*on, 0.7)
    np.testing.assert_allclose(device[0].get(), host[0], atol=1e-5)
    np.testing.assert_allclose(extrapolate(*device, 0.9), extrapolate(*host, 0.9), rtol=1e-4)
    np.testing.assert_allclose(average(*device[:2], 0.3), average(*host[:2], 0.3), rtol=1e-4)
    np.testing.assert_allclose(device[0].get(), host[0], atol=1e-5)
