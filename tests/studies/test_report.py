"""Reports: numbers against means by hand, and what the pictures show."""

from __future__ import annotations

import csv

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from mrrecon.errors import DataError, FileFormatError, OutputError
from mrrecon.grid import Grid
from mrrecon.pictures.montage import draw_planes
from mrrecon.pictures.planes import PLANES, cut_planes
from mrrecon.report import Summary, draw_cost, draw_quality, draw_settings, gains, write_report
from mrrecon.report.document import MONTAGE
from mrrecon.report.tables import mean_table
from mrrecon.studies import Results

SOLVERS = [{"label": "ours", "grid": {}}, {"label": "peer", "grid": {"strength": [1, 2, 3]}}]


def make_row(file, acceleration, method, variant, seed, psnr, **more):
    """A row as a run writes it, with made-up numbers."""
    policy = {"data_range": "volume-max", "region": "all", "scaling": "none", "slice_axis": "x", "ssim": "window"}
    strength = float(variant.partition("=")[2] or 2)
    row = {
        "run": f"{file}-{acceleration}-{method}-{variant}-{seed}",
        "file": file,
        "acceleration": float(acceleration),
        "method": method,
        "variant": variant,
        "prior": "net" if method == "ours" else None,
        "seed": seed,
        "truth": f"truth-{file}",
        "achieved": acceleration * 1.01,
        "seconds": 10.0 if method == "ours" else 1.0,
        "evaluations": 100 if method == "ours" else None,
        "stopped": None,
        "voxel_size": [2.0, 2.0, 2.0],
        "given": {"settings": {"strength": strength}},
        "used": {"strength": strength},
        "notes": [],
        "device": "cpu",
        "threads": 2,
        "machine": {"workers": 1},
        "ended": "2026",
    }
    if psnr is None:
        return {**row, "error": "it broke."}
    return {**row, "metrics": {"psnr": psnr, "ssim": psnr / 100, "nrmse": 0.1, "policy": policy}, **more}


ROWS = [
    make_row("a", 4, "ours", "default", 0, 33.0),
    make_row("a", 4, "ours", "default", 1, 35.0),
    make_row("b", 4, "ours", "default", 0, 30.0),
    make_row("b", 4, "ours", "default", 1, 31.0),
    make_row("a", 8, "ours", "default", 0, 28.0),
    make_row("a", 8, "ours", "default", 1, None),
    make_row("a", 4, "peer", "default", 0, 30.0),
    make_row("a", 4, "peer", "strength=1", 0, 31.0),
    make_row("a", 4, "peer", "strength=3", 0, 29.0),
    make_row("a", 4, "peer", "default", 1, 32.0),
    make_row("a", 4, "peer", "strength=1", 1, 30.0),
    make_row("b", 4, "peer", "default", 0, 28.0),
    make_row("b", 4, "peer", "strength=3", 0, 27.0),
    make_row("a", 8, "peer", "default", 0, 27.0),
]
PLACE = ("run", "file", "acceleration", "method", "variant", "prior", "seed", "truth")


def write_rows(folder, rows, missing=(), **settings):
    study = {
        "name": "toy",
        "seeds": [0, 1],
        "simulation": {"coils": 8, "snr": 40.0},
        "sampling": {"mask": "poisson"},
        "maps": "estimated",
        "baseline": "peer",
        "solvers": SOLVERS,
        **settings,
    }
    results = Results(folder)
    grid = [{name: row[name] for name in PLACE} for row in (*rows, *missing)]
    results.create({"name": "toy", "settings": study, "runs": grid})
    for row in rows:
        results.write(row)
    return results


@pytest.fixture
def summary(tmp_path):
    return Summary.read(write_rows(tmp_path, ROWS))


@pytest.fixture
def figures(monkeypatch):
    """Figures that were saved, the last one at the end."""
    found = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (found.append(self), save(self, *a, **k))[1])
    return found


# ---- numbers -------------------------------------------------------------------------------------------------


def test_means_are_over_seeds_and_then_over_files(summary):
    (ours,) = (r for r in summary.means() if r["method"] == "ours" and r["acceleration"] == 4)
    assert ours["psnr"] == (34 + 30.5) / 2 and ours["psnr_deviation"] == pytest.approx(1.75)
    assert ours["ssim"] == pytest.approx(0.3225) and ours["files"] == 2 and ours["line"] == "ours, net"


def test_best_is_chosen_for_each_file_acceleration_and_seed_by_psnr(summary):
    found = {(r["file"], r["acceleration"]): r for r in summary.by_file() if r["setting"] == "best"}
    assert found["a", 4]["psnr"] == (31 + 32) / 2 and found["a", 4]["variant"] == "strength=1; default"
    assert found["b", 4]["psnr"] == 28 and found["b", 4]["variant"] == "default"
    assert all(r["method"] == "peer" for r in found.values())  # ours has no grid
    default = {(r["file"], r["acceleration"]): r["psnr"] for r in summary.by_file() if r["setting"] == "default"}
    assert default["a", 4] in (31, 34)


def test_gain_is_over_the_best_of_the_baseline(summary):
    found = {r["acceleration"]: r for r in gains(summary.by_file(), "peer")}
    assert found[4]["gain"] == pytest.approx(((34 - 31.5) + (30.5 - 28)) / 2) and found[4]["files"] == 2
    assert found[8]["gain"] == pytest.approx(1) and found[8]["files"] == 1
    assert {r["line"] for r in gains(summary.by_file(), "peer")} == {"ours, net"}


def test_seconds_are_medians_because_first_runs_compile(tmp_path):
    rows = [make_row("a", 4, "ours", "default", seed, 30.0, seconds=s) for seed, s in enumerate((90.0, 2.0, 4.0))]
    (record,) = Summary.read(write_rows(tmp_path, rows)).means()
    assert record["seconds"] == 4


def test_best_value_at_an_end_of_its_grid_is_noted(tmp_path, summary):
    assert summary.at_the_end() == {"peer": [4.0]}  # strength 1 of 1, 2, 3 for file a
    rows = [make_row("a", 4, "peer", v, 0, p) for v, p in (("strength=1", 1.0), ("default", 2.0), ("strength=3", 1.5))]
    assert Summary.read(write_rows(tmp_path / "inside", rows)).at_the_end() == {}


def test_rows_of_earlier_settings_and_runs_that_are_not_done_are_counted(tmp_path):
    results = write_rows(tmp_path, ROWS[:3], missing=ROWS[3:5])
    results.write(make_row("old", 4, "ours", "default", 0, 10.0))
    summary = Summary.read(results)
    assert (len(summary.rows), len(summary.failed), summary.missing, summary.others) == (3, 0, 2, 1)
    assert summary.files == ["a", "b"]


# ---- tables --------------------------------------------------------------------------------------------------


def test_markdown_table_has_a_row_for_each_method_and_setting_and_marks_the_highest(summary):
    lines = mean_table(summary, summary.means(), "psnr").splitlines()
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line] == [
        ["method", "setting", "R = 4", "R = 8"],
        ["ours, net", "default", "**32.25**", "**28.00** (1 of 2 files)"],
        ["peer", "default", "29.50", "27.00 (1 of 2 files)"],
        ["peer", "best", "29.75", "27.00 (1 of 2 files)"],
    ]


def test_csv_files_hold_what_the_tables_show(tmp_path):
    write_rows(tmp_path / "runs", ROWS)
    write_report(tmp_path / "runs", tmp_path / "report")
    means, files, runs = (
        list(csv.DictReader((tmp_path / "report" / f"{name}.csv").open())) for name in ("means", "files", "runs")
    )
    (best,) = (r for r in means if r["setting"] == "best" and r["acceleration"] == "4.0")
    assert float(best["psnr"]) == 29.75 and best["variants"] == "strength=1; default; default"
    assert best["evaluations"] == "" and len(files) == 3 + 3 + 3
    assert len(runs) == len(ROWS) and "region all" in runs[0]["policy"]
    assert [r["error"] for r in runs if r["psnr"] == ""] == ["it broke."]


def test_report_says_how_numbers_came_about_and_what_went_wrong(tmp_path):
    rows = [*ROWS, make_row("b", 8, "ours", "default", 0, 26.0, notes=["Mind the gap."], stopped="numbers")]
    write_rows(tmp_path / "runs", rows, missing=[make_row("b", 8, "ours", "default", 1, 1.0)])
    text = write_report(tmp_path / "runs", tmp_path / "report").read_text()
    assert "14 runs of 16 have a result, 1 failed, 1 are not done." in text
    assert "Seeds: 0, 1" in text and "coils 8, snr 40" in text and "achieved R within 1.0 %" in text
    assert "data range volume-max, region all" in text and "knowing the truth" in text
    assert "## Gain in PSNR (dB)\n\nAgainst peer at its best" in text and "+2.50" in text
    assert "## Network evaluations" in text and "30.50 / 0.3050" in text
    assert "peer: the best value is at an end of its grid at R = 4" in text
    assert "- failed: a, R = 8, seed 1, ours, net (default): it broke." in text
    assert "- stopped early: b, R = 8, seed 0, ours, net (default): numbers" in text and "- note: Mind the gap." in text
    for name in ("quality", "evaluations", "seconds", "settings"):
        assert f"]({name}.png)" in text and matplotlib.image.imread(tmp_path / "report" / f"{name}.png").std() > 0.02


def test_report_without_baseline_grid_or_networks_leaves_their_parts_out(tmp_path):
    rows = [make_row("a", 4, "peer", "default", 0, 30.0)]
    write_rows(tmp_path / "runs", rows, baseline="", solvers=[{"label": "peer", "grid": {}}])
    text = write_report(tmp_path / "runs", tmp_path / "report").read_text()
    assert "Gain" not in text and "evaluations" not in text and "settings.png" not in text and "To be noted" not in text
    assert not (tmp_path / "report" / "evaluations.png").exists()


def test_folders_that_are_no_studies_and_studies_without_results_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"is not the folder of a study: study\.json is missing or damaged"):
        write_report(tmp_path, tmp_path / "report")
    write_rows(tmp_path / "runs", [make_row("a", 4, "ours", "default", 0, None)])
    with pytest.raises(DataError, match="has a result yet; the first of 1 failures: it broke"):
        write_report(tmp_path / "runs", tmp_path / "report")
    write_rows(tmp_path / "good", ROWS)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "good", tmp_path / "file")


# ---- plots ---------------------------------------------------------------------------------------------------


def curves(axes):
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_quality_is_drawn_against_acceleration_at_default_and_at_best(summary, tmp_path, figures):
    draw_quality(summary, tmp_path / "quality.png")
    psnr, ssim = figures[-1].axes
    assert curves(psnr) == {
        "ours, net": [(4, 32.25), (8, 28)],
        "peer": [(4, 29.5), (8, 27)],
        "peer, best": [(4, 29.75), (8, 27)],
    }
    assert curves(ssim)["ours, net"] == [(4, pytest.approx(0.3225)), (8, pytest.approx(0.28))]
    (legend,) = figures[-1].legends
    assert [text.get_text() for text in legend.get_texts()] == ["ours, net", "peer", "peer, best"]


def test_quality_is_drawn_against_evaluations_with_other_methods_as_lines_across(summary, tmp_path, figures):
    draw_cost(summary, "evaluations", tmp_path / "cost.png")
    first, second = (curves(axes) for axes in figures[-1].axes)
    assert first["ours, net"] == [(100, 32.25)] and second["ours, net"] == [(100, 28)]
    assert [quality for _, quality in first["peer"]] == [29.75, 29.75]  # at its best
    assert [quality for _, quality in second["peer"]] == [27, 27]


def test_line_against_cost_joins_what_is_not_beaten_by_something_cheaper(tmp_path, figures):
    values = [("default", 5.0, 30.0), ("strength=1", 1.0, 25.0), ("strength=3", 3.0, 24.0)]
    rows = [make_row("a", 4, "peer", v, 0, psnr, seconds=seconds) for v, seconds, psnr in values]
    draw_cost(Summary.read(write_rows(tmp_path, rows)), "seconds", tmp_path / "cost.png")
    points, joined = figures[-1].axes[0].get_lines()
    assert list(points.get_xdata()) == [1, 3, 5] and list(joined.get_xdata()) == [1, 5]


def test_quality_is_drawn_against_the_setting_of_a_grid(tmp_path, figures):
    values = [("default", 30.0), ("strength=1", 25.0), ("strength=3", 24.0)]
    rows = [make_row("a", r, "peer", v, 0, psnr - r) for r in (4, 8) for v, psnr in values]
    draw_settings(Summary.read(write_rows(tmp_path, rows)), tmp_path / "settings.png")
    (axes,) = figures[-1].axes
    assert curves(axes) == {"R = 4": [(1, 21), (2, 26), (3, 20)], "R = 8": [(1, 17), (2, 22), (3, 16)]}
    assert axes.get_xlabel() == "strength"


# ---- montages ------------------------------------------------------------------------------------------------


def test_planes_are_the_middle_of_the_object_turned_to_right_and_up():
    truth = np.zeros((12, 14, 16), np.complex64)  # axes to the left, to the back and up
    truth[2:9, 3:12, 4:15] = 2j
    volume = truth.copy()
    volume[3, 7, 12] = 6  # to the right of the middle, in it, above it
    grid = Grid(volume.shape, affine=np.diag([-1.0, -2.0, 3.0, 1.0]))
    planes = cut_planes(volume, grid, truth, 2.0)
    assert [planes[plane].shape for plane in PLANES] == [(12, 14), (12, 16), (14, 16)]
    assert [list(planes[f"{plane}_edges"]) for plane in PLANES] == [[1, 2], [1, 3], [2, 3]]
    assert planes["coronal"][11 - 3, 12] == 3 and planes["axial"].max() == planes["sagittal"].max() == 1
    np.testing.assert_array_equal(planes["axial"][::-1, ::-1], np.abs(truth[:, :, 9]) / 2)  # 4 to 14 in z


def make_planes(value, size=8):
    planes = {plane: np.full((size, size), value, np.float16) for plane in PLANES}
    planes["axial"][2, 5] = 0.5
    return planes | {f"{plane}_edges": np.ones(2, np.float32) for plane in PLANES}


def test_montage_shows_all_planes_at_one_window_and_five_times_the_error(tmp_path, figures):
    columns = {"truth": make_planes(1.0), "same": make_planes(1.0), "off": make_planes(0.9)}
    draw_planes(columns, tmp_path / "m.png", MONTAGE, title="title")
    (figure,) = figures
    shown = [[image.get_array() for image in axes.get_images()] for axes in figure.axes]
    assert [len(images) for images in shown] == [1, 1, 1, 0, 1, 1] * 3
    assert all(image.get_clim() == (0, 1) for axes in figure.axes for image in axes.get_images())
    assert float(shown[1][0][5, 2]) == 0.5  # up is the second axis
    assert float(np.max(shown[4][0])) == 0 and float(shown[5][0][0, 0]) == pytest.approx(0.5, abs=0.002)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["truth", "same", "off"]
    assert matplotlib.image.imread(tmp_path / "m.png").shape[0] > 400


def test_report_has_a_montage_of_each_file_and_acceleration_with_each_method_at_its_best(tmp_path, figures):
    results = write_rows(tmp_path / "runs", ROWS)
    for row in ROWS:
        results.save_planes(row["run"], make_planes(0.9))
        results.save_planes(row["truth"], make_planes(1.0))
    text = write_report(tmp_path / "runs", tmp_path / "report").read_text()
    names = ["montage_a_R4.png", "montage_b_R4.png", "montage_a_R8.png"]
    assert all(f"]({name})" in text and (tmp_path / "report" / name).is_file() for name in names)
    titles = [axes.get_title() for figure in figures for axes in figure.axes if figure.get_suptitle() == "a, R = 4"]
    assert titles[:3] == ["truth", "ours, net\ndefault\n33.00 dB, SSIM 0.330", "peer\nstrength=1\n31.00 dB, SSIM 0.310"]
