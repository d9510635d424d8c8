"""Siemens twix: synthetic VD files laid out byte by byte as the format is, parsed by the real twixtools.

There is no scanner-made file among the project's data; the layout follows the structures of twixtools.
"""

import ctypes

import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import FileFormatError

mdh_def = pytest.importorskip("twixtools.mdh_def")

PROTOCOL = """<XProtocol> {{ }}
### ASCCONV BEGIN ###
sKSpace.lPhaseEncodingLines = {lines}
sKSpace.lPartitions = {partitions}
sSliceArray.asSlice[0].dReadoutFOV = {fov[0]}
sSliceArray.asSlice[0].dPhaseFOV = {fov[1]}
sSliceArray.asSlice[0].dThickness = {fov[2]}
### ASCCONV END ###
"""


def block(data, flags=(), center=(0, 0, 0), position=(0, 0, 0), **counters):
    """One readout: scan header, then a channel header and samples per coil."""
    coils, samples = data.shape
    head = mdh_def.Scan_header()
    head.SamplesInScan, head.UsedChannels = samples, coils
    head.CenterCol, head.CenterLin, head.CenterPar = center
    for name, value in counters.items():
        setattr(head.Counter, name, value)
    for flag in flags:
        mdh_def.add_flag(head, flag)
    raw = ctypes.cast(ctypes.pointer(head.SliceData), ctypes.POINTER(ctypes.c_float))
    for i, value in enumerate((*position, 1.0, 0.0, 0.0, 0.0)):  # Sag, Cor, Tra, quaternion of no rotation
        raw[i] = value
    size = ctypes.sizeof(head) + coils * (ctypes.sizeof(mdh_def.Channel_header) + 8 * samples)
    head.FlagsAndDMALength = size
    parts = [bytes(head)]
    for coil in range(coils):
        parts += [bytes(mdh_def.Channel_header(ChannelId=coil)), data[coil].astype(np.complex64).tobytes()]
    return b"".join(parts)


def end_block():
    head = mdh_def.Scan_header()
    mdh_def.add_flag(head, "ACQEND")
    head.FlagsAndDMALength = ctypes.sizeof(head) + 160
    return bytes(head) + bytes(160)


def write_twix(path, measurements, lines=12, partitions=10, fov=(160, 120, 50)):
    """A multi-RAID file; measurements are lists of blocks."""
    text = PROTOCOL.format(lines=lines, partitions=partitions, fov=fov).encode()
    buffer = b"MeasYaps\0" + len(text).to_bytes(4, "little") + text
    header = (8 + len(buffer)).to_bytes(4, "little") + (1).to_bytes(4, "little") + buffer
    header = (len(header)).to_bytes(4, "little") + header[4:]
    table, body, offset = b"", b"", 10240
    for number, blocks in enumerate(measurements):
        content = header + b"".join(blocks) + end_block()
        content += bytes(-len(content) % 512)
        entry = number.to_bytes(4, "little") * 2 + offset.to_bytes(8, "little") + len(content).to_bytes(8, "little")
        table += entry + bytes(128)
        body, offset = body + content, offset + len(content)
    start = (1).to_bytes(4, "little") + len(measurements).to_bytes(4, "little") + table
    path.write_bytes(start.ljust(10240, b"\0") + body)
    return path


def volume_blocks(kspace, keep=None, **more):
    _, n_x, n_y, n_z = kspace.shape
    return [
        block(kspace[:, :, y, z], center=(n_x // 2, n_y // 2, n_z // 2), Lin=y, Par=z, **more)
        for y in range(n_y)
        for z in range(n_z)
        if keep is None or keep[y, z]
    ]


def test_3d_with_noise_scan_and_other_readouts(tmp_path, make, rng):
    images = make.phantom((16, 12, 10), 3)
    images[:, :4] = images[:, 12:] = 0
    kspace = make.fft(images, (1, 2, 3))
    noise = (rng.standard_normal((3, 256)) + 1j * rng.standard_normal((3, 256))).astype(np.complex64)
    keep = rng.random((12, 10)) < 0.6
    keep[0, 0] = keep[6, 5] = True
    scan_blocks = volume_blocks(kspace, keep, position=(10.0, 20.0, 30.0))
    junk = [block(np.full((3, 16), 1e6), flags=[f]) for f in ("PHASCOR", "RTFEEDBACK")]
    path = write_twix(tmp_path / "meas.dat", [[block(noise, flags=["NOISEADJSCAN"])], junk + scan_blocks])
    scan = mr.read(path)
    assert scan.shape == (8, 12, 10) and scan.domains == ("image", "kspace", "kspace")
    np.testing.assert_array_equal(scan.mask, keep)
    expected = make.fft(images[:, 4:12], (2, 3)) * keep
    np.testing.assert_allclose(scan.kspace, expected, atol=3e-6)
    np.testing.assert_allclose(scan.noise_covariance, noise @ noise.conj().T / 256, rtol=1e-5)
    assert scan.voxel_size == pytest.approx((20.0, 10.0, 5.0))
    np.testing.assert_allclose(scan.affine @ [4, 6, 5, 1], [-10, -20, 30, 1], atol=1e-4)


def test_averages_reflected_lines_and_partial_fourier(tmp_path, make):
    """Two averages; every other line sampled backwards; the first three lines never measured."""
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    blocks = []
    for average, factor in ((0, 1.5), (1, 0.5)):
        for y in range(3, 12):
            for z in range(10):
                line = factor * kspace[:, :, y, z]
                line, flags = (line[:, ::-1], ["REFLECT"]) if y % 2 == 1 else (line, [])
                blocks.append(block(line, flags, (8, 3, 5), Lin=y - 3, Par=z, Ave=average))
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks]), remove_oversampling=False)
    keep = np.zeros((12, 10), bool)
    keep[3:] = True
    np.testing.assert_array_equal(scan.mask, keep)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * keep, atol=3e-6)


def test_2d_slices_and_repetitions(tmp_path, make):
    images = make.phantom((4, 16, 12), 2)
    kspace = make.fft(images, (2, 3))
    blocks = [
        block((1 + rep) * kspace[:, s, :, y], center=(8, 6, 0), position=(0, 0, 6.0 * s), Lin=y, Sli=s, Rep=rep)
        for rep in range(2)
        for s in range(4)
        for y in range(12)
    ]
    path = write_twix(tmp_path / "meas.dat", [blocks], partitions=1, fov=(80, 60, 5))
    scan = mr.read(path, repetition=1, remove_oversampling=False)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), 2 * images, atol=5e-6)
    assert scan.voxel_size == pytest.approx((6.0, 10.0, 5.0))
    with pytest.raises(FileFormatError, match="no index 2 of the counter Rep"):
        mr.read(path, repetition=2)


def test_truncated_and_damaged(tmp_path, make):
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    path = write_twix(tmp_path / "meas.dat", [volume_blocks(kspace)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="truncated"):
        mr.read(path)
    header = int.from_bytes(whole[10240:10244], "little")
    broken = bytearray(whole)
    broken[10240 + header + 40 : 10240 + header + 52] = bytes([32] + [0] * 11)  # SYNCDATA of no length: never ends
    broken[10240 + header : 10240 + header + 4] = bytes(4)
    path.write_bytes(bytes(broken))
    with pytest.raises(FileFormatError, match="damaged at byte"):
        mr.read(path)
    path.write_bytes(write_twix(path, [[]]).read_bytes())
    with pytest.raises(FileFormatError, match="no imaging readouts"):
        mr.read(path)
    rng = np.random.default_rng(3)
    for _ in range(60):  # any other damage too ends in one of our errors, or goes unnoticed in the samples
        broken = bytearray(whole)
        for at in rng.integers(0, 12000, 6):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            mr.read(path)
        except mr.errors.MRReconError as error:
            assert "meas.dat" in str(error)
