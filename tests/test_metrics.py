"""Metrics: the same numbers as scikit-image, and the policy that goes with them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from mrrecon.errors import DataError, ShapeError
from mrrecon.metrics import MetricPolicy, evaluate, nmse, nrmse, object_region, psnr, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(4)
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (18, 26, 22)), indexing="ij")
    magnitude = np.exp(-sum(g**2 for g in grids)) * (sum((g / 0.8) ** 2 for g in grids) < 1)
    truth = magnitude * np.exp(1j * (0.4 + grids[0] - grids[1] * grids[2]))
    image = truth + 0.03 * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape))
    return image, truth


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("data_range", ["volume-max", 0.8])
def test_ssim_is_that_of_scikit_image(pair, axis, data_range):
    image, truth = (np.moveaxis(np.abs(v), "xyz".index(axis), 0) for v in pair)
    peak = truth.max() if data_range == "volume-max" else data_range
    theirs = np.mean(
        [skimage_metrics.structural_similarity(a, b, data_range=peak) for a, b in zip(truth, image, strict=True)]
    )
    ours = ssim(*pair, MetricPolicy(slice_axis=axis, data_range=data_range))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_ssim_of_slices_with_their_own_range_skips_empty_slices(pair):
    image, truth = (np.abs(v) for v in pair)
    full = [i for i in range(len(truth)) if truth[i].any()]
    assert len(full) < len(truth)
    theirs = np.mean(
        [skimage_metrics.structural_similarity(truth[i], image[i], data_range=truth[i].max()) for i in full]
    )
    assert ssim(*pair, MetricPolicy(data_range="slice-max")) == pytest.approx(theirs, rel=1e-6)


def test_ssim_in_a_region_averages_the_map_of_scikit_image(pair):
    image, truth = (np.abs(v) for v in pair)
    region = truth > 0.5
    maps = np.stack(
        [
            skimage_metrics.structural_similarity(a, b, data_range=truth.max(), full=True)[1]
            for a, b in zip(truth, image, strict=True)
        ]
    )
    inner = np.zeros_like(region)
    inner[:, 3:-3, 3:-3] = True
    assert ssim(*pair, MetricPolicy(region=region)) == pytest.approx(maps[region & inner].mean(), rel=1e-6)


def test_psnr_and_errors_are_those_of_scikit_image(pair):
    image, truth = (np.abs(v) for v in pair)
    found = evaluate(*pair)
    theirs = skimage_metrics.peak_signal_noise_ratio(truth, image, data_range=truth.max())
    assert found["psnr"] == pytest.approx(theirs, rel=1e-9) == psnr(*pair)
    theirs = skimage_metrics.normalized_root_mse(truth, image, normalization="euclidean")
    assert found["nrmse"] == pytest.approx(theirs, rel=1e-9) == nrmse(*pair)
    assert found["nmse"] == pytest.approx(theirs**2, rel=1e-9) == nmse(*pair)
    assert found["ssim"] == ssim(*pair)


def test_complex_and_component_psnr_follow_their_definitions(pair):
    image, truth = pair
    found = evaluate(image, truth)
    error = np.mean(np.abs(image - truth) ** 2)
    assert found["psnr_complex"] == pytest.approx(20 * np.log10(np.abs(truth).max()) - 10 * np.log10(error))
    real_view = [np.stack([v.real, v.imag], axis=-1) for v in (image, truth)]
    component = 20 * np.log10(real_view[1].max()) - 10 * np.log10(np.mean((real_view[0] - real_view[1]) ** 2))
    assert found["psnr_component"] == pytest.approx(component)
    assert found["nmse_complex"] == pytest.approx(error / np.mean(np.abs(truth) ** 2))
    shifted = evaluate(image * np.exp(0.7j), truth)  # magnitudes do not see a phase, complex values do
    assert shifted["psnr"] == pytest.approx(found["psnr"])
    assert shifted["psnr_complex"] < found["psnr_complex"] - 3


def test_slice_psnr_is_the_mean_over_slices_with_signal(pair):
    image, truth = (np.abs(v) for v in pair)
    values = [
        skimage_metrics.peak_signal_noise_ratio(t, i, data_range=t.max())
        for i, t in zip(image, truth, strict=True)
        if t.any()
    ]
    assert psnr(*pair, MetricPolicy(data_range="slice-max")) == pytest.approx(np.mean(values))


def test_region_and_number_as_range(pair):
    image, truth = (np.abs(v) for v in pair)
    region = np.zeros(truth.shape, bool)
    region[5:12, 6:20, 4:18] = True
    found = evaluate(*pair, MetricPolicy(region=region, data_range=2.0))
    assert found["psnr"] == pytest.approx(10 * np.log10(4 / np.mean((image - truth)[region] ** 2)))
    assert found["nmse"] == pytest.approx(((image - truth)[region] ** 2).sum() / (truth[region] ** 2).sum())
    assert f"mask of {region.sum()} voxels" in found["policy"]["region"]
    within = object_region(truth)
    assert psnr(*pair, MetricPolicy(region="object")) == pytest.approx(psnr(*pair, MetricPolicy(region=within)))


def test_scaling_undoes_a_factor(pair):
    image, truth = pair
    plain = evaluate(image, truth, MetricPolicy(scaling="complex"))
    turned = evaluate(image * (3 - 2j), truth, MetricPolicy(scaling="complex"))
    for name in ("psnr", "psnr_complex", "psnr_component", "ssim", "nmse_complex"):
        assert turned[name] == pytest.approx(plain[name])
    assert complex(*turned["scale"]) * (3 - 2j) == pytest.approx(complex(*plain["scale"]))
    larger = evaluate(image * 5, truth, MetricPolicy(scaling="magnitude"))
    assert larger["psnr"] == pytest.approx(evaluate(image, truth, MetricPolicy(scaling="magnitude"))["psnr"])
    factors = np.linspace(0.9, 1.1, 21) * larger["scale"][0]
    errors = [nmse(f * image * 5, truth) for f in factors]
    assert np.argmin(errors) == 10


def test_policy_and_numbers_are_json(pair):
    found = evaluate(*pair)
    assert json.loads(json.dumps(found)) == found
    assert found["policy"] == {
        "data_range": "volume-max",
        "region": "all",
        "scaling": "none",
        "slice_axis": "x",
        "ssim": "window 7x7 uniform, K1 0.01, K2 0.03, sample covariance",
    }


def test_equal_volumes(pair):
    found = evaluate(pair[1], pair[1])
    assert found["psnr"] == found["psnr_complex"] == math.inf
    assert found["ssim"] == pytest.approx(1)
    assert found["nmse"] == 0


def test_takes_torch_real_and_reconstructions(pair):
    torch = pytest.importorskip("torch")
    from mrrecon.reconstruction import Reconstruction

    image, truth = (v.astype(np.complex64) for v in pair)
    expected = evaluate(image, truth)["ssim"]
    assert evaluate(torch.from_numpy(image), torch.from_numpy(truth))["ssim"] == expected
    wrapped = Reconstruction(image, (1, 1, 1), np.eye(4), "test")
    assert evaluate(wrapped, truth)["ssim"] == expected
    real = evaluate(np.abs(image), np.abs(truth))
    assert real["psnr"] == pytest.approx(real["psnr_component"])


@pytest.mark.gpu
def test_takes_cupy(pair):
    import cupy

    assert evaluate(*(cupy.asarray(v) for v in pair)) == pytest.approx(evaluate(*pair))


def test_object_region_fills_holes_and_leaves_the_background():
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 32, 34)), indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grids))
    shell = ((radius < 0.8) & (radius > 0.3)).astype(float)
    noisy = shell + 0.02 * np.abs(np.random.default_rng(0).standard_normal(shell.shape))
    np.testing.assert_array_equal(object_region(noisy), radius < 0.8)
    dot = np.zeros((40, 40, 40))
    dot[20, 20, 20] = 1
    assert object_region(dot).sum() == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a, b: (a[:-1], b), ShapeError, "differ in shape"),
        (lambda a, b: (a[0], b), ShapeError, "three axes"),
        (lambda a, b: (a * np.nan, b), DataError, "reconstruction has .* NaN"),
        (lambda a, b: (a, b / 0), DataError, "reference has .* NaN or Inf"),
        (lambda a, b: (a, b * 0), DataError, "zero everywhere"),
        (lambda a, b: (a.astype(str), b), DataError, "must be numbers"),
        (lambda a, b: (a[:, :5], b[:, :5]), ShapeError, "at least 7x7"),
        (lambda a, b: (a, b, MetricPolicy(region=np.ones((2, 2, 2)))), ShapeError, "region has shape"),
        (lambda a, b: (a, b, MetricPolicy(region=np.zeros(b.shape))), DataError, "region is empty"),
    ],
)
def test_bad_volumes_are_named(pair, change, error, message):
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        evaluate(*change(*pair))


@pytest.mark.parametrize(
    "settings",
    [
        {"data_range": "max"},
        {"data_range": -1},
        {"region": "brain"},
        {"scaling": "fit"},
        {"slice_axis": "axial"},
    ],
)
def test_bad_policies_are_named(settings):
    with pytest.raises(DataError, match=next(iter(settings))):
        MetricPolicy(**settings)
