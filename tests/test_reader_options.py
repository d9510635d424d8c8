"""Options of readers, in Python and as ``--read.NAME`` on the command line."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from solver_scans import SHAPE, centred_fft, coil_maps, head_like, make_scan

import mrrecon as mr
from mrrecon import io
from mrrecon.cli import main
from mrrecon.errors import DataError, FileFormatError
from mrrecon.io.plain_files import write_cfl

SUFFIXES = (".h5", ".mrd", ".cfl", ".npy")


@pytest.fixture
def scan():
    """Fully sampled, with an affine that is turned and shifted."""
    scan = make_scan(fraction=1.0)
    affine = np.array([[0, 2.0, 0, -30], [3.0, 0, 0, 10], [0, 0, 1.5, 7], [0, 0, 0, 1]])
    return scan.evolve("turned", voxel_size=(3.0, 2.0, 1.5), affine=affine)


def write(scan, path):
    if path.suffix != ".npy":
        return mr.write(scan, path)
    np.save(path, scan.kspace)
    return path


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_coils_of_every_format(suffix, lazy, scan, tmp_path):
    path = write(scan, tmp_path / f"s{suffix}")
    whole, few = mr.read(path), mr.read(path, lazy=lazy, coils=[2, 0])
    assert few.is_lazy == (lazy and mr.read(path, lazy=True).is_lazy)
    np.testing.assert_array_equal(few.kspace[...], whole.kspace[[2, 0]])
    np.testing.assert_array_equal(few.slab(3, 5), whole.kspace[[2, 0], 3:5])
    assert few.load().n_coils == 2 and [step.name for step in few.provenance][-1] == "select coils"
    if suffix == ".h5":
        np.testing.assert_array_equal(few.maps, whole.maps[[2, 0]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_voxel_size_of_every_format(suffix, scan, tmp_path):
    path = write(scan, tmp_path / f"s{suffix}")
    plain, other = mr.read(path), mr.read(path, voxel_size=[1.0, 2.0, 0.5])
    assert other.voxel_size == (1.0, 2.0, 0.5)
    np.testing.assert_allclose(np.linalg.norm(other.affine[:3, :3], axis=0), [1.0, 2.0, 0.5], rtol=1e-6)
    directions = [one.affine[:3, :3] / np.linalg.norm(one.affine[:3, :3], axis=0) for one in (plain, other)]
    np.testing.assert_allclose(*directions, atol=1e-6)
    middle = [n // 2 for n in plain.shape] + [1]
    np.testing.assert_allclose(other.affine @ middle, plain.affine @ middle, atol=1e-4)
    np.testing.assert_array_equal(other.kspace, plain.kspace)


def test_options_are_in_the_record(scan, tmp_path):
    path = write(scan, tmp_path / "s.npy")
    found = mr.read(path, voxel_size=np.array([1, 2, 3]), coils=[np.int64(1), 2])
    (step,) = (one for one in found.provenance if one.name == "read")
    assert step.settings["options"] == {"voxel_size": [1, 2, 3], "coils": [1, 2]}
    assert step.settings["path"] == str(path)
    again = mr.read(mr.write(found, tmp_path / "again.h5"))
    assert step in again.provenance


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"coil": [0]}, FileFormatError, "no option 'coil'; did you mean 'coils'"),
        ({"magic": 1}, FileFormatError, "no option 'magic'; they take .*coils"),
        ({"coils": [0, 0]}, DataError, "each once"),
        ({"coils": [4]}, DataError, "coils 0 to 3"),
        ({"coils": []}, DataError, "coils 0 to 3"),
        ({"coils": "few"}, FileFormatError, "'coils' .* must be a list of a whole number or null, got 'few'"),
        ({"voxel_size": [1, 2]}, FileFormatError, "'voxel_size' .* must be a list of a number"),
        ({"voxel_size": [1, 2, -1]}, DataError, "three positive lengths"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_options_that_cannot_be(suffix, options, error, message, scan, tmp_path):
    with pytest.raises(error, match=message):
        mr.read(write(scan, tmp_path / f"s{suffix}"), **options)


def test_a_dead_coil_is_left_out(tmp_path, capsys):
    kspace = np.array(make_scan(fraction=1.0).kspace)
    kspace[1] = 0
    np.save(tmp_path / "k.npy", kspace)
    words = ["recon", str(tmp_path / "k.npy"), "-o", str(tmp_path / "v.h5"), "--solver", "cg-sense"]
    assert main(words) == 2
    assert "--read.coils" in capsys.readouterr().err
    assert main([*words, "--read.coils", "[0,2,3]"]) == 0
    steps = {step.name: step.settings for step in mr.Reconstruction.load(tmp_path / "v.h5").provenance}
    assert steps["select coils"] == {"keep": [0, 2, 3]}


def test_hybrid_data_on_the_command_line(tmp_path):
    """Without the option the image is transformed along x once too often; with it, it is the right one."""
    image, maps = head_like(SHAPE), coil_maps(SHAPE, 4)
    write_cfl(centred_fft(maps * image, (2, 3)), tmp_path / "k.cfl")
    write_cfl(maps, tmp_path / "maps.cfl")
    words = ["recon", tmp_path / "k.cfl", "-o", tmp_path / "v.h5", "--maps", tmp_path / "maps.cfl"]
    words = [*map(str, words), "--solver", "zero-filled", "--read.voxel-size=[3,2,1.5]", "--read.hybrid"]
    assert main(words) == 0
    result = mr.Reconstruction.load(tmp_path / "v.h5")
    np.testing.assert_allclose(result.volume, image, atol=2e-3)
    assert result.voxel_size == (3.0, 2.0, 1.5)
    (tmp_path / "recon.yaml").write_text(yaml.safe_dump({"read": {"hybrid": True, "coils": [0, 1, 2, 3]}}))
    words = ["recon", tmp_path / "k.cfl", "-o", tmp_path / "w.h5", "--maps", tmp_path / "maps.cfl"]
    assert main([*map(str, words), "--solver", "zero-filled", "--config", str(tmp_path / "recon.yaml")]) == 0
    np.testing.assert_array_equal(mr.Reconstruction.load(tmp_path / "w.h5").volume, result.volume)


def test_every_command_that_reads_a_scan(scan, tmp_path, capsys):
    path = str(write(scan, tmp_path / "s.h5"))
    assert main(["info", path, "--read.coils", "[3]", "--read.voxel_size", "[4,4,4]"]) == 0
    said = capsys.readouterr().out
    assert "4 x 4 x 4 mm" in said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("coils")] == ["1"]
    assert main(["calibrate", path, "-o", str(tmp_path / "m.npy"), "--read.coils", "[3,1]"]) == 0
    assert np.load(tmp_path / "m.npy").shape == (2, *SHAPE)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_info_lists_what_a_format_takes(suffix, scan, tmp_path, capsys):
    path = write(scan, tmp_path / f"s{suffix}")
    assert main(["info", str(path)]) == 0
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("options"))
    for name in io.reader_options(io.detect(path)):
        assert f"--read.{name}" in line
    assert ("--read.contrast" in line) == (suffix == ".mrd")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--read.contrats", "1"], "no option 'contrats'; did you mean 'contrast'"),
        (["--read.contrast", "few"], "'contrast' .* must be a whole number"),
        (["--read.lazy", "true"], "no --read.lazy"),
        (["--contrast", "1"], "no option --contrast; did you mean --read.contrast"),
        (["--read.format", "magic"], "no readable format 'magic'"),
    ],
)
def test_refusals_are_one_sentence(words, message, scan, tmp_path, capsys):
    import re

    path = write(scan, tmp_path / "s.mrd")
    assert main(["recon", str(path), "-o", str(tmp_path / "v.h5"), *words]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1


def test_scans_of_a_study_are_read_with_options(scan, tmp_path):
    from tiny_study import settings

    from mrrecon.errors import MRReconError
    from mrrecon.studies import Study, expand
    from mrrecon.studies.scans import complete_scan

    write(scan, tmp_path / "s.h5")

    def study(read):
        file = {"file": "s.h5", **({"read": read} if read else {})}
        return Study.from_settings(settings(files=[file], simulation={}), tmp_path)

    few, whole = study({"coils": [2, 0]}), study({})
    np.testing.assert_array_equal(complete_scan(few.files[0], few).kspace, scan.kspace[[2, 0]])
    assert complete_scan(whole.files[0], whole).n_coils == 4
    assert not {run.id for run in expand(few)} & {run.id for run in expand(whole)}
    assert few.to_dict()["files"][0]["read"] == {"coils": [2, 0]}
    for read, message in (({"coil": [1]}, "did you mean 'coils'"), ([1], "options by name")):
        with pytest.raises(MRReconError, match=message):
            study(read)
