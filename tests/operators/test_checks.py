"""check_adjoint accepts what is right and finds what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from mrrecon.errors import AdjointError
from mrrecon.operators import CartesianEncoding, Sense, check_adjoint


class Matrix:
    """An operator of the plainest kind: a matrix, with an adjoint that may be wrong."""

    def __init__(self, matrix, adjoint=None):
        self.matrix = matrix
        self.oshape, self.ishape = (matrix.shape[0],), (matrix.shape[1],)
        self._adjoint = matrix.conj().T if adjoint is None else adjoint

    def forward(self, x):
        return self.matrix @ x

    def adjoint(self, y):
        return self._adjoint @ y


class Callable:
    """The other plain kind: A(x) and A.H(y), without shapes."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, x):
        return self.matrix @ x

    @property
    def H(self):
        return Callable(self.matrix.conj().T)


@pytest.fixture
def matrix(rng):
    return rng.standard_normal((40, 30)) + 1j * rng.standard_normal((40, 30))


def test_accepts_right_operators(rng, matrix):
    assert check_adjoint(Matrix(matrix)) < 1e-12
    assert check_adjoint(Matrix(matrix.astype(np.complex64))) < 1e-5
    assert check_adjoint(Callable(matrix), ishape=(30,)) < 1e-12
    sigpy = pytest.importorskip("sigpy")
    assert check_adjoint(sigpy.linop.FFT((5, 6))) < 1e-4
    assert check_adjoint(sigpy.linop.Sum((5, 6), (0,))) < 1e-4
    maps = (rng.standard_normal((2, 3, 4, 5)) + 1j).astype(np.complex64)
    A = Sense(maps, rng.random((4, 5)) < 0.5)
    for operator in (A, A.H, A.N, 2 * A, A.encoding):
        assert check_adjoint(operator) < 1e-5


def test_error_is_of_order_one_for_a_wrong_adjoint(matrix):
    with pytest.raises(AdjointError, match=r"<A x, y> = .* but <x, A\^H y> = .*does not belong"):
        check_adjoint(Matrix(matrix, matrix.T))
    assert check_adjoint(Matrix(matrix, matrix.T), rtol=100) > 0.1


@pytest.mark.parametrize("scale", [1.001, 1j, -1])
def test_finds_a_wrong_scale(matrix, scale):
    with pytest.raises(AdjointError):
        check_adjoint(Matrix(matrix, scale * matrix.conj().T))


def test_finds_one_wrong_coil(rng):
    """One conjugate forgotten in one of 32 coils."""
    maps = (rng.standard_normal((32, 4, 6, 5)) + 1j * rng.standard_normal((32, 4, 6, 5))).astype(np.complex64)
    wrong = maps.copy()
    wrong[7] = wrong[7].conj()
    mask = np.ones((6, 5), bool)
    mixed = Matrix(np.eye(1))
    right = CartesianEncoding(maps, mask)
    mixed.forward, mixed.adjoint = right.forward, CartesianEncoding(wrong, mask).adjoint
    mixed.ishape, mixed.oshape = right.ishape, right.oshape
    with pytest.raises(AdjointError):
        check_adjoint(mixed)


def test_names_wrong_shapes_and_values(matrix):
    operator = Matrix(matrix)
    operator.oshape = (41,)
    with pytest.raises(AdjointError, match=r"A x has shape \(40,\), expected \(41,\)"):
        check_adjoint(operator)
    with pytest.raises(AdjointError, match=r"A\^H y has shape \(29,\), expected \(30,\)"):
        check_adjoint(Matrix(matrix, matrix.conj().T[1:]))
    with pytest.raises(AdjointError, match="nan"):
        check_adjoint(Matrix(np.full_like(matrix, np.nan)))


def test_names_what_is_missing(matrix):
    with pytest.raises(TypeError, match="needs methods forward and adjoint"):
        check_adjoint(np.ones(3))
    with pytest.raises(TypeError, match="give check_adjoint"):
        check_adjoint(Callable(matrix))


def test_seed_decides(matrix):
    rounded = Matrix(matrix.astype(np.complex64))
    assert check_adjoint(rounded, 1) == check_adjoint(rounded, 1) != check_adjoint(rounded, 2)


def test_like_decides_the_kind(matrix):
    torch = pytest.importorskip("torch")
    seen = []

    class Spy(Matrix):
        def forward(self, x):
            seen.append(type(x))
            return super().forward(x)

    operator = Spy(torch.from_numpy(matrix.astype(np.complex64)))
    operator.oshape, operator.ishape = (40,), (30,)
    assert check_adjoint(operator, like=torch.empty(0)) < 1e-5
    assert seen == [torch.Tensor]
