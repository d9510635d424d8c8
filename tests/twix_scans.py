"""Twix files laid out byte by byte with the structures of twixtools, VD and VB, for the tests of the reader."""

import ctypes

import numpy as np
from twixtools import mdh_def

NO_ROTATION = (1.0, 0.0, 0.0, 0.0)


def header(
    data, flags=(), center=(0, 0, 0), position=(0, 0, 0), quaternion=NO_ROTATION, vb=False, cut=(0, 0), **counters
):
    """Measurement data header of one readout ``(coils, samples)``."""
    head = (mdh_def.VB17_header if vb else mdh_def.Scan_header)()
    head.UsedChannels, head.SamplesInScan = data.shape
    head.CenterCol, head.CenterLin, head.CenterPar = center
    head.CutOff.Pre, head.CutOff.Post = cut
    for name, value in counters.items():
        setattr(head.Counter, name, value)
    for flag in flags:
        mdh_def.add_flag(head, flag)
    raw = ctypes.cast(ctypes.pointer(head.SliceData), ctypes.POINTER(ctypes.c_float))
    for i, value in enumerate((*position, *quaternion)):  # Sag, Cor, Tra, then the quaternion
        raw[i] = value
    return head


def block(data, flags=(), *, vb=False, **more):
    """One readout of VD: scan header, then a channel header and samples per coil; of VB: a header per coil."""
    data = np.asarray(data, np.complex64)
    head = header(data, flags, vb=vb, **more)
    size = ctypes.sizeof(head) + len(data) * (ctypes.sizeof(mdh_def.Channel_header) + 8 * data.shape[1])
    head.FlagsAndDMALength = size
    parts = [] if vb else [bytes(head)]
    for coil, samples in enumerate(data):
        parts += [bytes(head if vb else mdh_def.Channel_header(ChannelId=coil)), samples.tobytes()]
    return b"".join(parts)


def sync_block(size=512):
    """Data of the physiological unit between readouts."""
    head = mdh_def.Scan_header()
    mdh_def.add_flag(head, "SYNCDATA")
    head.FlagsAndDMALength = size
    return bytes(head).ljust(size, b"\1")


def end_block(vb=False):
    """The last block of a measurement."""
    head = (mdh_def.VB17_header if vb else mdh_def.Scan_header)()
    mdh_def.add_flag(head, "ACQEND")
    head.FlagsAndDMALength = ctypes.sizeof(head) + 160
    return bytes(head) + bytes(160)


def protocol(lines=12, partitions=10, fov=(160, 120, 50), base=None, more=(), meas=None):
    """Header buffers: ASCCONV with these values, and XProtocol with those of `meas`, as scanners write them."""
    values = {"sKSpace.lPhaseEncodingLines": lines, "sKSpace.lPartitions": partitions, "sKSpace.lBaseResolution": base}
    piece = "sSliceArray.asSlice[0]."
    values |= {piece + "dThickness": fov[2], piece + "dPhaseFOV": fov[1], piece + "dReadoutFOV": fov[0]}
    values |= dict(more)
    rows = "".join(f"{name}\t = \t{value}\n" for name, value in values.items() if value is not None)
    begin, end = "### ASCCONV BEGIN object=MrProtDataImpl@MrProtocolData ###\n", "### ASCCONV END ###\n"
    buffers = {"MeasYaps": f"<XProtocol> \n{{\n}}\n{begin}{rows}{end}"}
    if meas is not None:
        body = ""
        for name, value in meas.items():
            numbers = value if isinstance(value, (list, tuple)) else [value]
            kind = "Long" if all(isinstance(v, int) for v in numbers) else "Double"
            precision = "" if kind == "Long" else "<Precision> 6 "
            body += f'    <Param{kind}."{name}">\n    {{\n      {precision} {" ".join(map(str, numbers))}\n    }}\n'
        buffers["Meas"] = f'<XProtocol> \n{{\n  <Name> "PhoenixMetaProtocol"\n  <ParamMap."">\n  {{\n{body}  }}\n}}\n'
    return buffers


def head_bytes(buffers, least=0):
    """The protocol at the start of a measurement, filled to `least` bytes."""
    body = b"".join(
        name.encode() + b"\0" + len(text.encode()).to_bytes(4, "little") + text.encode()
        for name, text in buffers.items()
    )
    body += bytes(max(least - len(body), -(8 + len(body)) % 32))
    return (8 + len(body)).to_bytes(4, "little") + len(buffers).to_bytes(4, "little") + body


def write_twix(path, measurements, buffers=None, names=()):
    """A VD file; measurements are lists of blocks, `buffers` their protocol, or one protocol for each."""
    buffers = protocol() if buffers is None else buffers
    table, body, offset = b"", b"", 10240
    for number, blocks in enumerate(measurements):
        own = buffers[number] if isinstance(buffers, list) else buffers
        content = head_bytes(own) + b"".join(blocks) + end_block()
        content += bytes(-len(content) % 512)
        name = (names[number] if number < len(names) else "").encode()
        table += number.to_bytes(4, "little") * 2 + offset.to_bytes(8, "little")
        table += len(content).to_bytes(8, "little") + bytes(64) + name.ljust(64, b"\0")
        body, offset = body + content, offset + len(content)
    start = (1).to_bytes(4, "little") + len(measurements).to_bytes(4, "little") + table
    path.write_bytes(start.ljust(10240, b"\0") + body)
    return path


def write_vb(path, blocks, buffers=None):
    """A VB file, of one measurement; its header is never as short as the table of VD."""
    header = head_bytes(protocol() if buffers is None else buffers, 40_000)
    path.write_bytes(header + b"".join(blocks) + end_block(vb=True))
    return path
