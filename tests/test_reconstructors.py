"""The registry: a function and a line make an arm, which then stands in every table, curve and picture."""

import csv
import inspect
import json
import struct

import numpy as np
import pytest

from ptychodose.compare import arms, figures, reconstructors
from ptychodose.reconstruct.reconstructors import Refinement
from ptychodose.errors import StudyError
from ptychodose.physics import noise
from ptychodose.study import params
from sandbox import fresh
from scenes import scene

STUDY = params.load("params.yaml")
FUNCTION = ["counts", "probe", "positions", "shape", "params", "rng"]
IMPROVE = ["start", "counts", "probe", "positions", "params", "rng"]


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def back_projection(counts, probe, positions, shape, params, rng):
    """The flat object where light fell, brighter where more photons were detected: no method, but an object."""
    obj, size = np.full(shape, 0.5, np.complex128), len(probe)
    for pattern, (y, x) in zip(counts, np.rint(positions).astype(int) - size // 2, strict=True):
        obj[y : y + size, x : x + size] += 1e-6 * pattern.sum() + 1e-9 * rng.random()
    return obj


def run(name, s, found=None, seed=0, params=STUDY):
    rng = noise.stream(seed, "solver")
    return reconstructors.run(name, s.counts, s.probe, s.positions, s.obj.shape, params, rng, found)


def test_every_entry_has_the_documented_signature():
    assert {"map", "hybrid"} <= set(reconstructors.REGISTRY)
    for name, entry in reconstructors.REGISTRY.items():
        if isinstance(entry, Refinement):
            assert list(inspect.signature(entry.improve).parameters) == IMPROVE, name
            assert entry.start in reconstructors.REGISTRY
        else:
            assert list(inspect.signature(entry).parameters) == FUNCTION, name


def test_a_registered_function_becomes_a_row_of_the_comparison(bright, monkeypatch):
    monkeypatch.setattr(reconstructors, "REGISTRY", {"toy": back_projection})
    rows = arms.registered(bright.whole("dense"), STUDY, {})
    assert list(rows) == ["toy"]
    row = rows["toy"]
    assert (row.view, row.group_size, row.share) == ("dense", None, 1.0)
    assert row.obj.shape == bright.obj.shape and row.obj.dtype == np.complex64 and row.obj.std() > 0
    again = arms.registered(bright.whole("dense"), STUDY, {})["toy"].obj
    assert again.tobytes() == row.obj.tobytes(), "its generator is the study's"
    assert arms.registered(bright.whole("sparse"), STUDY, {}) == {}


def test_arms_share_the_photons_and_no_randomness(bright, monkeypatch):
    seen = []

    def look(counts, probe, positions, shape, params, rng):
        seen.append((int(counts.sum()), complex(probe.sum()), float(positions.sum()), float(rng.random())))
        return np.ones(shape, np.complex64)

    monkeypatch.setattr(reconstructors, "REGISTRY", {"one": look, "two": look})
    arms.registered(bright.whole("dense"), STUDY, {})
    assert seen[0][:3] == seen[1][:3] and seen[0][3] != seen[1][3]


def test_a_refinement_starts_from_the_object_found_before(bright, monkeypatch):
    calls = []

    def first(counts, probe, positions, shape, params, rng):
        calls.append("first")
        return np.full(shape, 0.25, np.complex64)

    def second(start, counts, probe, positions, params, rng):
        calls.append("second")
        return 2 * start

    monkeypatch.setattr(reconstructors, "REGISTRY", {"first": first, "second": Refinement("first", second)})
    rows = arms.registered(bright.whole("dense"), STUDY, {})
    assert calls == ["first", "second"] and (rows["second"].obj == 0.5).all()
    calls.clear()
    made_by_a_stage = np.full(bright.obj.shape, 0.75, np.complex64)
    rows = arms.registered(bright.whole("dense"), STUDY, {"first": made_by_a_stage})
    assert calls == ["second"] and (rows["first"].obj == 0.75).all() and (rows["second"].obj == 1.5).all()
    calls.clear()
    assert (run("second", bright) == 0.5).all() and calls == ["first", "second"], "alone, it runs its start itself"


@pytest.mark.parametrize(
    "returned", [None, 1.0, np.ones((3, 3)), np.ones((1, 150, 122)), np.ones((122, 150)), [[1.0]]], ids=str
)
def test_what_is_no_object_of_the_shape_is_one_line(bright, monkeypatch, returned):
    entries = {"bad": lambda *_: returned, "worse": Refinement("start", lambda *_: returned)}
    monkeypatch.setattr(reconstructors, "REGISTRY", entries)
    for name in entries:
        with pytest.raises(StudyError, match=f"reconstructor {name}: returned") as caught:
            run(name, bright, {"start": bright.obj})
        assert "\n" not in str(caught.value)


def test_map_and_hybrid_are_objects_nearer_to_truth_than_the_flat_one(bright):
    """Both through the registry alone, the hybrid from the object that MAP has found."""
    region = (slice(32, 118), slice(32, 90))
    found = {"map": run("map", bright)}
    found["hybrid"] = run("hybrid", bright, found)
    flat = np.abs(bright.obj[region] - bright.obj[region].mean()).mean()
    for obj in found.values():
        factor = np.vdot(obj[region], bright.obj[region])
        assert np.abs(obj[region] * factor / abs(factor) - bright.obj[region]).mean() < 0.3 * flat
    assert not np.array_equal(found["map"], found["hybrid"])


def picture(obj, names):
    """Column titles of the comparison of arms `names`, and its width in px."""
    scores = {name: {"nrmse": 0.1, "phase_ssim": 0.5} for name in names}
    figure = figures.comparison(obj, dict.fromkeys(names, obj), 1e-8, scores, 1e4)
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes if axes.get_title()]
    return titles, int(figure.get_size_inches()[0] * figures.DPI)


def test_the_picture_has_a_column_for_every_arm(bright):
    few, narrow = picture(bright.obj, ["map", "hybrid"])
    more, wide = picture(bright.obj, ["map", "hybrid", "toy"])
    assert few == ["truth", "map", "hybrid"] and more == [*few, "toy"] and wide > narrow


TOY = '''

def by_toy(counts, probe, positions, shape, params, rng):
    """Adds a little noise to the flat object."""
    level = (counts.sum() / len(counts) / (abs(probe.astype(complex)) ** 2).sum()) ** 0.5
    return level * (1 + 0.01 * rng.standard_normal(shape)) + 0j


REGISTRY["toy"] = by_toy
'''


def width(path):
    """Pixels across a PNG."""
    return struct.unpack(">I", path.read_bytes()[16:20])[0]


@pytest.mark.slow
def test_a_function_and_a_line_stand_in_every_result_of_the_study(tmp_path):
    made = fresh(tmp_path / "study", tmp_path / "home")
    registry = made.folder / "src/ptychodose.reconstruct.reconstructors.py"
    registry.write_text(registry.read_text() + TOY)
    made.dvc("repro")
    compare = json.loads((made.folder / "metrics/compare.json").read_text())
    assert set(compare["toy"]) == set(compare["map"]) == {"nrmse", "phase_ssim", "frc50"}
    assert compare["map"]["nrmse"] < compare["toy"]["nrmse"] == pytest.approx(compare["flat"]["nrmse"], rel=0.15)
    details = json.loads((made.folder / "metrics/details.json").read_text())["arms"]
    assert details["toy"]["view"] == "dense" and details["toy"]["deviance"] > details["map"]["deviance"]
    with open(made.folder / "metrics/frc.csv", newline="") as file:
        assert "toy" in next(csv.reader(file))
    manifest = (made.folder / "manifest.json").read_text()
    assert "data/reconstructions/toy.h5" in manifest and (made.folder / "data/reconstructions/toy.h5").is_file()
    assert made.study("verify").returncode == 0 and "\ntoy " in made.study("answer").stdout
    shown = [name for name in details if name not in figures.HIDDEN]
    assert "toy" in shown
    drawn, obj = width(made.folder / "metrics/compare.png"), scene().obj
    assert abs(drawn - picture(obj, shown)[1]) <= 1 and drawn > picture(obj, shown[:-1])[1]
