"""The peer: BART's L1-wavelet as a solver gives what BART gives by hand, and refuses what BART does wrongly."""

from __future__ import annotations

import pytest
from solver_scans import make_scan, nrmse
from tiny_study import make_study, write_head

from mrrecon.errors import DataError, MissingDependencyError, MRReconError
from mrrecon.studies import BartL1Wavelet, perform
from mrrecon.studies.peers import find_solver


@pytest.mark.bart
@pytest.mark.parametrize("hybrid", [False, True], ids=["k-space", "transformed readout"])
def test_peer_gives_what_bart_gives_by_hand(bart, hybrid):
    scan = make_scan(snr=30)
    expected = bart("pics -S -l1 -r 0.004 -i25", scan.kspace, scan.maps)
    result = BartL1Wavelet(strength=0.004, iterations=25)(scan.hybrid() if hybrid else scan)
    assert nrmse(result.volume, expected) < 1e-4
    assert result.seconds > 0 and result.settings["bart"].startswith("v")
    assert (result.settings["strength"], result.settings["iterations"]) == (0.004, 25)


@pytest.mark.bart
@pytest.mark.parametrize("shape", [(19, 32, 28), (20, 31, 28), (20, 32, 27)], ids=str)
def test_odd_matrix_is_refused_with_what_to_do(shape):
    with pytest.raises(
        DataError, match=rf"needs even matrix sizes, got {'x'.join(map(str, shape))}.*leave this method out"
    ):
        BartL1Wavelet()(make_scan(shape=shape))


@pytest.mark.bart
def test_odd_anatomy_is_made_even_for_all_methods(tmp_path):
    write_head(tmp_path / "head.nii.gz", shape=(15, 23, 22))
    rows = perform(make_study(tmp_path, solvers=["zero-filled", "bart-l1-wavelet"]), tmp_path / "runs").values()
    assert [row["shape"] for row in rows] == [[16, 24, 22]] * 2
    zero_filled, peer = (row["metrics"]["psnr"] for row in rows)
    assert peer > zero_filled + 3


def test_failure_of_bart_is_told_in_its_words(tmp_path, monkeypatch):
    (tmp_path / "bart").write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo v0 || { echo "ERROR: no memory" >&2; exit 3; }\n'
    )
    (tmp_path / "bart").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(MRReconError, match=r"^bart pics -S -l1 -r 0\.005 -i 50 .* failed: ERROR: no memory\.$"):
        BartL1Wavelet()(make_scan())


def test_scan_without_maps_is_refused():
    with pytest.raises(DataError, match="needs coil sensitivity maps"):
        BartL1Wavelet()(make_scan().evolve("no maps", maps=None))


@pytest.mark.parametrize("settings", [{"strength": -1.0}, {"strength": float("nan")}, {"iterations": 0}], ids=str)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        BartL1Wavelet(**settings)


def test_study_that_needs_bart_is_refused_before_any_run_where_there_is_none(tmp_path, monkeypatch):
    study = make_study(tmp_path, solvers=["zero-filled", "bart-l1-wavelet"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt-get install bart"):
        perform(study, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_solvers_and_peers_are_found_by_name():
    assert find_solver("bart-l1-wavelet") is BartL1Wavelet
    with pytest.raises(DataError, match=r"no solver 'bart'; choose one of zero-filled, .*bart-l1-wavelet"):
        find_solver("bart")
