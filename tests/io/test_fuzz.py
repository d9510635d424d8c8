"""Mutated files of every format: nothing but the toolkit's own errors may escape, and no reader may hang.

Readers run in a child process, since damaged HDF5 can crash the library itself; the child reads a list of
files and reports what escaped.
"""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mrrecon as mr
from mrrecon.errors import MRReconError

CHILD = """
    import sys, warnings, faulthandler
    faulthandler.enable()
    warnings.simplefilter("ignore")
    import mrrecon as mr
    from mrrecon import io
    from mrrecon.errors import MRReconError
    for name in sys.stdin.read().splitlines():
        for act in (lambda: mr.read(name), lambda: io.read_mask(name), lambda: mr.Reconstruction.load(name),
                    lambda: io.read_volume(name)):
            print("reading", name, flush=True)
            try:
                act()
            except MRReconError as error:
                assert len(str(error)) > 10
            except BaseException as error:
                print("ESCAPED", name, type(error).__name__, str(error)[:200], flush=True)
"""


@pytest.fixture(scope="module")
def originals(tmp_path_factory, make):
    folder = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(5)
    kspace = rng.standard_normal((2, 3, 8, 7)) + 1j * rng.standard_normal((2, 3, 8, 7))
    kspace[:, :, 4, 3] += 50
    scan = mr.Acquisition(kspace.astype(np.complex64), np.ones((8, 7), bool), noise_covariance=np.eye(2))
    mr.write(scan, folder / "own.h5")
    mr.write(scan, folder / "ismrmrd.h5", format="ismrmrd")
    mr.write(scan, folder / "pair.cfl")
    np.save(folder / "array.npy", scan.kspace)
    extras = {"deviation": np.abs(scan.kspace[0])}
    record = mr.Reconstruction(scan.kspace[0], (1, 1, 1), np.eye(4), "cg", extras=extras)
    record.save(folder / "record.h5")
    record.save(folder / "volume.nii")
    make.fastmri(folder / "fastmri.h5", scan.kspace.transpose(1, 0, 2, 3))
    make.calgary(folder / "calgary.h5", scan.kspace)
    return folder


NAMES = (
    "own.h5",
    "ismrmrd.h5",
    "pair.cfl",
    "pair.hdr",
    "array.npy",
    "record.h5",
    "volume.nii",
    "fastmri.h5",
    "calgary.h5",
)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip some bytes, cut, repeat or blank a stretch; mostly near the beginning, where headers are."""
    out = bytearray(data)
    kind = rng.integers(0, 5)
    where = int(min(len(out) - 1, rng.exponential(len(out) / 6)))
    if kind <= 1:
        for _ in range(int(rng.integers(1, 9))):
            at = int(min(len(out) - 1, rng.exponential(len(out) / 6)))
            out[at] = int(rng.choice([0, 255, 127, 128, rng.integers(0, 256)]))
    elif kind == 2:
        del out[where:]
    elif kind == 3:
        length = int(rng.integers(1, 64))
        out[where : where + length] = bytes(rng.integers(0, 256, length, dtype=np.uint8))
    else:
        out[where:where] = out[where : where + int(rng.integers(1, 40))]
    return bytes(out)


def test_mutated_files(originals, tmp_path):
    rng = np.random.default_rng(11)
    paths = []
    for name in NAMES:
        data = (originals / name).read_bytes()
        for i in range(40):
            stem, suffix = name.split(".")
            path = tmp_path / f"{stem}{i}.{suffix}"
            path.write_bytes(mutate(data, rng))
            if stem == "pair":
                other = "hdr" if suffix == "cfl" else "cfl"
                if not (tmp_path / f"{stem}{i}.{other}").exists():
                    (tmp_path / f"{stem}{i}.{other}").write_bytes((originals / f"pair.{other}").read_bytes())
            paths.append(str(path))
    rest = paths
    crashes = []
    while rest:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(CHILD)], input="\n".join(rest), capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        escaped = [line for line in done.stdout.splitlines() if line.startswith("ESCAPED")]
        assert not escaped, escaped[:5]
        if done.returncode == 0:
            break
        last = [line for line in done.stdout.splitlines() if line.startswith("reading")][-1].split(" ", 1)[1]
        assert last.endswith(".h5"), done.stderr[-500:]  # only libhdf5 itself may crash, never our own code
        assert "h5py" in done.stderr, done.stderr[-500:]
        crashes.append(last)
        rest = rest[rest.index(last) + 1 :]
    assert len(crashes) <= 2, crashes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.text(st.characters(codec="ascii"), max_size=12), max_size=20),
    sep=st.sampled_from(" \n\t"),
)
def test_any_bart_header(originals, tmp_path, words, sep):
    data = tmp_path / "h.cfl"
    data.write_bytes((originals / "pair.cfl").read_bytes())
    (tmp_path / "h.hdr").write_text("# Dimensions\n" + sep.join(words))
    try:
        mr.read(data)
    except MRReconError as error:
        assert "h." in str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(min_size=1, max_size=400),
    head=st.sampled_from([b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00"]),
)
def test_any_bytes(tmp_path, content, head):
    for name in ("x.npy", "x.dat", "x.bin"):
        (tmp_path / name).write_bytes(head + content)
        with pytest.raises(MRReconError):
            mr.read(tmp_path / name)


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=300), cut=st.integers(0, 1200), at=st.integers(0, 1200))
def test_any_xml_header(make, text, cut, at):
    from mrrecon.io.ismrmrd_header import parse_header

    xml = make.header((8, 8, 8), (10, 10, 10))
    for damaged in (text, xml[:cut], xml[:at] + text + xml[at:], xml.replace("8", text[:5] or "-1")):
        try:
            parse_header(damaged, "scan.h5")
        except MRReconError as error:
            assert "scan.h5" in str(error)
