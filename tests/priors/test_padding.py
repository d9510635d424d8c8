"""Padding of slices for networks: equal to numpy's reflection, and undone exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrrecon.errors import PriorInputError
from mrrecon.priors.padding import pad_to_multiple

sides = st.integers(1, 20)


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, multiple=st.integers(1, 9), minimum=st.integers(1, 40))
def test_is_numpys_reflection_and_crops_back(height, width, multiple, minimum):
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    padded, crop = pad_to_multiple(x, multiple, minimum)
    assert all(side % multiple == 0 and side >= minimum for side in padded.shape[-2:])
    assert all(p - max(side, minimum) < multiple for p, side in zip(padded.shape[-2:], x.shape[-2:], strict=True))
    assert torch.equal(crop(padded), x)
    margins = [p - side for p, side in zip(padded.shape[-2:], x.shape[-2:], strict=True)]
    expected = np.pad(x.numpy(), [(0, 0), (0, 0), *((m // 2, m - m // 2) for m in margins)], mode="reflect")
    np.testing.assert_array_equal(padded.numpy(), expected)


def test_leaves_alone_what_fits():
    x = torch.zeros(1, 1, 8, 16)
    assert pad_to_multiple(x, 8)[0] is x


def test_gradients_pass():
    x = torch.randn(1, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pad_to_multiple(x, 4, 12)[0], x)


@pytest.mark.parametrize("shape, multiple, minimum", [((3, 4), 2, 1), ((1, 1, 0, 4), 2, 1), ((1, 1, 4, 4), 0, 1)])
def test_refuses(shape, multiple, minimum):
    with pytest.raises(PriorInputError):
        pad_to_multiple(torch.zeros(shape), multiple, minimum)
