"""Run every benchmark and put the table of their last results into README.md.

python benchmarks/run_all.py             # everything (BART on the PATH; about an hour on two cores)
python benchmarks/run_all.py --table     # only rewrite the table from benchmarks/results/
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
SCRIPTS = (
    ("masks",),
    ("normal_operator",),
    ("espirit", "--sigpy"),
    ("cg_sense",),
    ("l1_wavelet",),
    ("knee_memory",),
    ("variational", "--published"),
    ("prior_speed",),
    ("denoising",),
    ("noise",),
    ("intensity",),
    ("trust",),
)


def _normal(r: dict[str, Any]) -> str:
    faster = r["times_faster_than"]["sigpy"]
    return f"{faster:.0f}× faster than sigpy; {r['times_bare_ffts']:.2f}× the time of its bare FFTs"


def _cg(r: dict[str, Any]) -> str:
    return f"{r['ratio']:.1f}× faster than BART; NRMSE to BART's image {r['nrmse_to_bart']:.0e}"


def _espirit(r: dict[str, Any]) -> str:
    faster, agreement = r["times_faster_than"], r["agreement_with_bart"]["mean_inner_product"]
    return (
        f"{faster['bart']:.0f}× faster than BART, {faster['sigpy']:.0f}× than sigpy; "
        f"agreement with BART {agreement:.5f}"
    )


def _l1(r: dict[str, Any]) -> str:
    return (
        f"{r['ratio']:.1f}× faster than BART at its best strength, PSNR {r['psnr_gain']:+.2f} dB "
        "(ours with its default strength, which sees no reference)"
    )


def _knee(r: dict[str, Any]) -> str:
    sense, variational = r["cg-sense"], r["variational"]
    seconds = sense["seconds"]
    return (
        f"peak {sense['peak_gib']:.1f} GiB; {seconds['calibrate']:.0f} s + {seconds['reconstruct']:.0f} s; variational "
        f"with the default prior instead of CG-SENSE: peak {variational['peak_gib']:.1f} GiB"
    )


def _masks(r: dict[str, Any]) -> str:
    ratios = [case["ratio"] for case in r["cases"] if case.get("ratio")]
    failed = sum(case["sigpy"]["outcome"] != "ok" for case in r["cases"])
    worst = max(abs(case["ours"]["error"]) for case in r["cases"])
    return (
        f"{min(ratios):.0f}× to {max(ratios):.0f}× faster than sigpy, which gives no mask in {failed} of "
        f"{len(r['cases'])} cases; R within {100 * worst:.1f} %"
    )


def _variational(r: dict[str, Any]) -> str:
    runs = r["runs"]
    default = runs[f"variational, {r['iterations']} iterations"]
    said = (
        f"{r['seconds']:.0f} s; {r['psnr_gain_over_bart']:+.1f} dB over BART's L1-wavelet at its best strength; "
        f"{default['evaluations']} network evaluations"
    )
    if published := runs.get("published"):
        share = default["evaluations"] / published["evaluations"]
        said += f", {share:.0%} of the published method's, {default['psnr'] - published['psnr']:+.1f} dB"
    return said


def _prior_speed(r: dict[str, Any]) -> str:
    speed, faster = r["slices_per_second"], r["times_faster_than_diffusers"]
    peer = "" if faster is None else f"; {faster:.1f}× faster than a diffusers U-Net of as many weights"
    return (
        f"{speed['bf16']:.0f} slices/s in bf16, {speed['fp32']:.0f} in fp32{peer}; bf16 changes the predicted noise by "
        f"{100 * r['bf16_error']['50']:.1f} % at t = 50, {100 * r['bf16_error']['0']:.1f} % at t = 0"
    )


def _denoising(r: dict[str, Any]) -> str:
    said = []
    for size in ("2 mm", "1 mm"):
        gains = r["gain_over_bm3d"]["brain-diverse"][size]
        said.append(f"{size}: " + " / ".join(f"{gain:+.1f}" for gain in gains.values()))
    return f"{'; '.join(said)} dB at t = {' / '.join(r['levels'])}"


def _intensity(r: dict[str, Any]) -> str:
    methods = r["worst_bias_percent"]
    worst = ", ".join(f"`{name}` {bias:.1f}" for name, bias in methods.items())
    decay = max(abs(r["decay_error_percent"][name]) for name in methods)
    large = [row["bias_percent"] for row in r["rows"] if row["share_of_voxels"] > 0.01]
    most = max(abs(row[name]) for row in large for name in methods)
    return (
        f"within {most:.1f} % above one per cent of the voxels; the worst of all {worst} %; T2* of five echoes within "
        f"{decay:.1f} %"
    )


def _noise(r: dict[str, Any]) -> str:
    psnr = ", ".join(f"{row['difference']:+.2f} dB with `{row['prior']}`" for row in r["variational"])
    return (
        f"within {100 * r['largest_error']:.1f} % ({r['within_goal']} within 5 %); variational at R = "
        f"{r['variational'][0]['acceleration']}: {psnr}; {r['estimate']['seconds']:.1f} s for 8×128³"
    )


def _trust(r: dict[str, Any]) -> str:
    (low, high), (worst, most), (one, two) = r["deviation_ratio"], r["deviation_by_parts"], r["deviation_covered"]
    map_low, map_high = r["error_ratio"]
    return (
        f"deviation of {r['samples']} samples over true error {low:.2f} to {high:.2f}, in tenths of the voxels "
        f"{worst:.2f} to {most:.2f}, 1 and 1.96 deviations cover {100 * one:.0f} and {100 * two:.0f} %; error map "
        f"{map_low:.2f} to {map_high:.2f}"
    )


ROWS: dict[str, tuple[str, str, Callable[[dict[str, Any]], str]]] = {  # result -> work, bar, how to say it
    "normal_operator": ("Normal operator, 128×160×160, 8 coils", "12×, 1.8×", _normal),
    "cg_sense": ("CG-SENSE, 15 iterations, whole process, same size", "4×, 1e-3", _cg),
    "espirit": ("ESPIRiT maps, 64×80×80, 8 coils, 24³ calibration", "10×, 25×, 0.999", _espirit),
    "l1_wavelet": ("L1-wavelet to convergence, whole process, 128×160×160", "4×, −0.05 dB", _l1),
    "knee_memory": ("Calibrate + CG-SENSE, 256×320×320, 8 coils", "12 GiB; 24 GiB", _knee),
    "masks": ("Poisson-disc masks, ten shapes and accelerations", "within 1 %", _masks),
    "variational": ("Variational, `brain-small`, 96×112×96, 8 coils, R = 8", "60 s, +1.5 dB, 10 %", _variational),
    "prior_speed": ("`brain-small` on slices of 112×112", "25 slices/s, 1 %", _prior_speed),
    "intensity": (
        "Mean intensity of balls of 0.4 to 26 % of the voxels, SNR 10 and 50, R = 1, 2, 4",
        "1 %, 1 %",
        _intensity,
    ),
    "noise": ("Noise estimated from the scan, heads at 1 to 4 mm, R = 4 to 24", "5 %, 0.15 dB", _noise),
    "trust": ("Expected against true errors, four heads, R = 4, 8, 16", "0.9 to 1.1; 0.7 to 1.4", _trust),
    "denoising": ("Denoising by `brain-diverse` beside BM3D at its best strength", "+2 dB", _denoising),
}


def table() -> str:
    """Markdown table of the last results."""
    lines = ["| Work | Goal | Measured |", "|---|---|---|"]
    for name, (work, goal, say) in ROWS.items():
        path = HERE / "results" / f"{name}.json"
        measured = say(json.loads(path.read_text())) if path.is_file() else "not measured yet"
        lines.append(f"| {work} | {goal} | {measured} |")
    return "\n".join(lines)


def main() -> None:
    """Run the scripts, unless only the table is asked for, and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only rewrite the table in README.md")
    if not parser.parse_args().table:
        for name, *options in SCRIPTS:
            print(f"== {name}", flush=True)
            subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options], check=True)
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
    print(table())


if __name__ == "__main__":
    main()
