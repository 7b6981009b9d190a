"""The registry: a function and a line make an arm, which then stands in every table, curve and picture."""

import csv
import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from ptychodose.compare import figures
from ptychodose.errors import StudyError
from ptychodose.formats.png import DPI
from ptychodose.physics import noise
from ptychodose.reconstruct import arms, reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction, Refinement
from ptychodose.study import params
from sandbox import fresh
from scenes import scene
from small_hybrid import save

STUDY = params.load("params.yaml")


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The study with a hybrid of a few random weights and little patience."""
    bundle = str(save(tmp_path_factory.mktemp("hybrid")))
    settings = replace(STUDY.reconstruct_map, iterations=10, weight_moves=1)
    return replace(STUDY, reconstruct_map=settings, train_hybrid=replace(STUDY.train_hybrid, bundle=bundle))


def back_projection(scan, params, rng):
    """The flat object where light fell, brighter where more photons were detected: no method, but an object."""
    obj, size = np.full(scan.shape, 0.5, np.complex128), scan.size
    for pattern, (y, x) in zip(scan.counts, np.rint(scan.positions).astype(int) - size // 2, strict=True):
        obj[y : y + size, x : x + size] += 1e-6 * pattern.sum() + 1e-9 * rng.random()
    return obj


def run(name, s, found=None, seed=0, params=STUDY):
    rng = noise.stream(seed, "solver")
    return reconstructors.run(name, s.scan, params, rng, found)


def test_refinements_start_from_what_is_there():
    assert {"map", "hybrid"} <= set(reconstructors.REGISTRY)
    for entry in reconstructors.REGISTRY.values():
        assert not isinstance(entry, Refinement) or entry.start in reconstructors.REGISTRY


BAD_PIXELS = np.arange(64 * 64).reshape(64, 64) % 11 > 0
NUISANCES = {
    "background": lambda scan: replace(scan, background=np.full((64, 64), 0.1)),
    "mask": lambda scan: replace(scan, mask=BAD_PIXELS),
    "modes": lambda scan: replace(scan, probe=np.concatenate([scan.probe, 0.1 * scan.probe])),
}


@pytest.mark.parametrize("name", NUISANCES)
def test_what_an_arm_cannot_honour_is_refused_never_ignored(bright, monkeypatch, name):
    s = replace(bright, scan=NUISANCES[name](bright.scan))
    entries = {"toy": back_projection, "after": Refinement("toy", lambda start, scan, params, rng: start)}
    monkeypatch.setattr(reconstructors, "REGISTRY", entries)
    for arm in entries:
        with pytest.raises(StudyError, match=rf"reconstructor {arm}: the scan has a {name}.*@honours\('{name}'\)"):
            run(arm, s, {"toy": Reconstruction(bright.obj)})
    honest = reconstructors.honours(name)(lambda scan, params, rng: scan.flat())
    monkeypatch.setattr(reconstructors, "REGISTRY", {"toy": honest})
    assert run("toy", s).obj.shape == bright.obj.shape


@pytest.mark.parametrize("arm", ["map", "hybrid"])
def test_nothing_in_a_masked_pixel_reaches_a_result(bright, quick, arm):
    masked = replace(bright, scan=replace(bright.scan, mask=BAD_PIXELS))
    spoilt = np.where(BAD_PIXELS, bright.scan.counts, 60000)
    found = [run(arm, s, params=quick) for s in (masked, replace(masked, scan=replace(masked.scan, counts=spoilt)))]
    assert found[0].obj.tobytes() == found[1].obj.tobytes() and found[0].weight == found[1].weight
    assert arm == "map" or found[0].error.tobytes() == found[1].error.tobytes()


def test_a_registered_function_becomes_a_row_of_the_comparison(bright, monkeypatch):
    monkeypatch.setattr(reconstructors, "REGISTRY", {"toy": back_projection})
    rows = arms.registered(bright.trial("dense"), STUDY, {})
    assert list(rows) == ["toy"]
    row = rows["toy"]
    assert (row.view, row.group_size, row.share) == ("dense", None, 1.0)
    assert row.obj.shape == bright.obj.shape and row.obj.dtype == np.complex64 and row.obj.std() > 0
    again = arms.registered(bright.trial("dense"), STUDY, {})["toy"].obj
    assert again.tobytes() == row.obj.tobytes(), "its generator is the study's"
    assert arms.registered(bright.trial("sparse"), STUDY, {}) == {}


def test_arms_share_the_photons_and_no_randomness(bright, monkeypatch):
    seen = []

    def look(scan, params, rng):
        totals = int(scan.counts.sum()), complex(scan.probe.sum()), float(scan.positions.sum())
        seen.append((*totals, float(rng.random())))
        for array in (scan.counts, scan.probe, scan.positions):
            array[:] = 0
        return np.ones(scan.shape, np.complex64)

    monkeypatch.setattr(reconstructors, "REGISTRY", {"one": look, "two": look})
    arms.registered(bright.trial("dense"), STUDY, {})
    assert seen[0][:3] == seen[1][:3] and seen[0][3] != seen[1][3]
    monkeypatch.setattr(reconstructors, "REGISTRY", {"two": look})
    arms.registered(bright.trial("dense"), STUDY, {})
    assert seen[2] == seen[1], "an arm's numbers do not hang on its place in the registry"


def test_a_refinement_starts_from_the_object_found_before(bright, monkeypatch):
    calls = []

    def first(scan, params, rng):
        calls.append("first")
        return np.full(scan.shape, 0.25, np.complex64)

    def second(start, scan, params, rng):
        calls.append("second")
        return 2 * start.obj

    monkeypatch.setattr(reconstructors, "REGISTRY", {"first": first, "second": Refinement("first", second)})
    rows = arms.registered(bright.trial("dense"), STUDY, {})
    assert calls == ["first", "second"] and (rows["second"].obj == 0.5).all()
    calls.clear()
    made_by_a_stage = np.full(bright.obj.shape, 0.75, np.complex64)
    rows = arms.registered(bright.trial("dense"), STUDY, {"first": Reconstruction(made_by_a_stage)})
    assert calls == ["second"] and (rows["first"].obj == 0.75).all() and (rows["second"].obj == 1.5).all()
    calls.clear()
    assert (run("second", bright).obj == 0.5).all() and calls == ["first", "second"], "alone, it runs its start itself"


@pytest.mark.parametrize(
    "returned", [None, 1.0, np.ones((3, 3)), np.ones((1, 150, 122)), np.ones((122, 150)), [[1.0]]], ids=str
)
def test_what_is_no_object_of_the_shape_is_one_line(bright, monkeypatch, returned):
    entries = {"bad": lambda *_: returned, "worse": Refinement("start", lambda *_: returned),
               "told": lambda *_: Reconstruction(returned)}  # fmt: skip
    monkeypatch.setattr(reconstructors, "REGISTRY", entries)
    for name in entries:
        with pytest.raises(StudyError, match=f"reconstructor {name}: returned") as caught:
            run(name, bright, {"start": Reconstruction(bright.obj)})
        assert "\n" not in str(caught.value)


def test_an_arm_may_tell_more_than_its_object_and_a_plain_array_is_one_without(bright, monkeypatch):
    error = np.full(bright.obj.shape, 0.1 + 0.2j, np.complex64)
    told = Reconstruction(bright.obj.astype(np.complex128), error, weight=0.4, blend=0.7)
    entries = {"plain": lambda *_: bright.obj, "told": lambda *_: told}
    monkeypatch.setattr(reconstructors, "REGISTRY", entries)
    plain, found = run("plain", bright), run("told", bright)
    assert found.obj.dtype == np.complex64 and found.error is error and (found.weight, found.blend) == (0.4, 0.7)
    assert (plain.error, plain.weight, plain.blend, plain.start_error) == (None, None, None, None)
    rows = arms.registered(bright.trial("dense"), STUDY, {})
    assert rows["plain"].given() == {"view": "dense", "share": 1.0} and set(rows["plain"].arrays()) == {"obj"}
    assert rows["told"].given() == {"view": "dense", "share": 1.0, "weight": 0.4, "blend": 0.7}
    assert rows["told"].arrays()["error"] is error and set(rows["told"].arrays()) == {"obj", "error"}


def test_a_refinement_gets_all_that_its_start_told_and_may_tell_its_start_s_error(bright, monkeypatch):
    given, error = [], np.full(bright.obj.shape, 0.1 + 0.2j, np.complex64)

    def improve(start, scan, params, rng):
        given.append((start.weight, start.blend))
        start.obj[:] = 0
        return Reconstruction(scan.flat(), 2 * error, start_error=error)

    first = Reconstruction(bright.obj.copy(), weight=0.4)
    entries = {"first": lambda *_: first, "second": Refinement("first", improve), "third": lambda *_: bright.obj}
    monkeypatch.setattr(reconstructors, "REGISTRY", entries)
    rows = arms.registered(bright.trial("dense"), STUDY, {})
    assert given == [(0.4, None)] and (rows["first"].obj == bright.obj).all(), "a copy is what it may change"
    assert (rows["first"].error == error).all() and (rows["second"].error == 2 * error).all()
    assert rows["third"].error is None
    own = Reconstruction(bright.obj, 3 * error)
    assert (arms.registered(bright.trial("dense"), STUDY, {"first": own})["first"].error == 3 * error).all()


def test_the_hybrid_tells_its_blend_and_the_errors_of_both_and_map_its_weight(bright, quick):
    """Its blend is chosen where MAP's weight is known; an object that came without one is moved all the way."""
    made = run("map", bright, params=quick)
    found = run("hybrid", bright, {"map": made}, params=quick)
    assert made.weight > 0 and made.error is None and 0 <= found.blend < 1, "random steps are not followed"
    for error in (found.error, found.start_error):
        assert error.shape == bright.obj.shape and error.dtype == np.complex64 and (error.real > 0).all()
    assert found.weight is None
    alone = run("hybrid", bright, {"map": replace(made, weight=None)}, params=quick)
    assert alone.blend == 1 and np.abs(alone.obj - made.obj).max() > np.abs(found.obj - made.obj).max()


def test_map_and_hybrid_are_objects_nearer_to_truth_than_the_flat_one(bright, quick):
    """Both through the registry alone, the hybrid, whatever its weights, from the object that MAP has found."""
    region, patient = (slice(32, 118), slice(32, 90)), replace(quick, reconstruct_map=STUDY.reconstruct_map)
    found = {"map": run("map", bright, params=patient)}
    found["hybrid"] = run("hybrid", bright, found, params=patient)
    flat = np.abs(bright.obj[region] - bright.obj[region].mean()).mean()
    for made in found.values():
        factor = np.vdot(made.obj[region], bright.obj[region])
        assert np.abs(made.obj[region] * factor / abs(factor) - bright.obj[region]).mean() < 0.3 * flat


def picture(obj, names):
    """Column titles of the comparison of arms `names`, and its width in px."""
    scores = {name: {"nrmse": 0.1, "phase_ssim": 0.5} for name in names}
    figure = figures.comparison(
        obj, dict.fromkeys(names, (obj, None)), tuple(slice(0, n) for n in obj.shape), 1e-8, scores, ("truth", "x")
    )
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes if axes.get_title()]
    return titles, int(figure.get_size_inches()[0] * DPI)


def test_the_picture_has_a_column_for_every_arm(bright):
    few, narrow = picture(bright.obj, ["map", "hybrid"])
    more, wide = picture(bright.obj, ["map", "hybrid", "toy"])
    assert few == ["truth", "map", "hybrid"] and more == [*few, "toy"] and wide > narrow


TOY = '''

def by_toy(scan, params, rng):
    """Adds a little noise to the flat object."""
    return scan.flat() * (1 + 0.01 * rng.standard_normal(scan.shape))


REGISTRY["toy"] = by_toy
'''


def width(path):
    """Pixels across a PNG."""
    return struct.unpack(">I", path.read_bytes()[16:20])[0]


@pytest.mark.slow
def test_a_function_and_a_line_stand_in_every_result_of_the_study(tmp_path):
    made = fresh(tmp_path / "study", tmp_path / "home")
    registry = made.folder / "src/ptychodose/reconstruct/reconstructors.py"
    registry.write_text(registry.read_text() + TOY)
    made.dvc("repro")
    compare = json.loads((made.folder / "metrics/compare.json").read_text())
    assert set(compare["toy"]) == set(compare["map"]) == {"nrmse", "phase_ssim", "frc50"}
    assert compare["map"]["nrmse"] < compare["toy"]["nrmse"] == pytest.approx(compare["flat"]["nrmse"], rel=0.15)
    details = json.loads((made.folder / "metrics/details.json").read_text())["arms"]
    assert all(
        {"within_68", "within_95", "nrmse_foretold"} == set(details[arm]["error_bars"]) for arm in ("map", "hybrid")
    )
    assert "error_bars" not in details["toy"] and {"map_sparse", "hybrid_sparse", "map_thinned"} <= set(details)
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
