"""What faults of measured scans cost when they are known, and when they are solved for: on small scenes always, on the
shared workload's scans where these are present."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from closure import ROOT
from ptychodose.bounds import fisher, limits
from ptychodose.compare import benchmark, nuisances
from ptychodose.experiment import solve
from ptychodose.iterative import poisson_map
from ptychodose.physics import noise
from ptychodose.reconstruct import reconstructors
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params
from ptychodose.study.settings import MEASURED
from scenes import scene

STUDY = params.load(ROOT / "params.yaml")
FOLDER = ROOT.parent / "shared" / "benchmark"
ARMS = ("map", "hybrid")
Y, X = np.indices((64, 64)) - 32
BAD = (np.hypot(Y, X) < 6) | (np.random.default_rng(3).random((64, 64)) < 0.011)  # stop, 1 % dead, 0.1 % hot
SCENES = {"clean": {}, "0.25": {"background": 0.25}, "2.5": {"background": 2.5}, "mask": {"mask": ~BAD}}
MOST = {"bg0.1": 1.45, "bg1.0": 1.85, "beamstop": 1.10, "hot": 1.10, "deadpix": 1.10}  # times the error of "none"


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)  # the hybrid's bundle is named from there


def errors(scan, truth, true=None):
    """NRMSE of MAP and of the hybrid where the `true` scan (else this one) went."""
    found = {}
    for name in ARMS:
        found[name] = reconstructors.run(name, scan, STUDY, noise.stream(1, "solver"), found)
    region = scored_region([(true or scan).positions])
    scores = {name: scoring.score(made.obj, truth, region, 1e-9) for name, made in found.items()}
    return {name: scoring.headline(score)["nrmse"] for name, score in scores.items()}


def bound(scan, truth):
    """Cramér–Rao bound of the NRMSE in the middle of the scan."""
    crop = limits.middle(scored_region([scan.positions]), 24, 4)
    inner = fisher.centre((24, 24), 4)
    matrix = fisher.information(replace(scan, counts=None), truth, crop)
    variance = fisher.covariance(matrix, fisher.both(inner, 24 * 24)).diagonal()
    return fisher.errors(variance, truth[crop].ravel()[inner])["nrmse"]


@pytest.mark.slow
def test_what_is_known_costs_no_more_than_the_bound_says():
    found, limit = {}, {}
    for name, changes in SCENES.items():
        s = scene(1e4, **changes)
        found[name], limit[name] = errors(s.scan, s.obj), bound(s.scan, s.obj)
    for name in ("0.25", "2.5", "mask"):
        allowed = limit[name] / limit["clean"]
        assert allowed > 1
        for arm, slack in (("map", 1.15), ("hybrid", 1.25)):
            assert found[name][arm] <= slack * allowed * found["clean"][arm], (name, arm, allowed)
            assert found[name][arm] < 1.5 * found["clean"][arm], "nor is the bound so loose that anything passes"


def test_ignoring_a_background_is_several_times_worse():
    s = scene(1e4, background=2.5)
    settings = replace(STUDY.reconstruct_map, iterations=30)
    region = scored_region([s.scan.positions])
    nrmse = {}
    for name, given in {"known": s.scan, "ignored": replace(s.scan, background=np.zeros((64, 64)))}.items():
        obj = poisson_map.solve(given, settings, noise.stream(1, "solver"), settings.weight).obj
        nrmse[name] = scoring.headline(scoring.score(obj, s.obj, region, 1e-9))["nrmse"]
    assert nrmse["known"] < 0.12 and nrmse["ignored"] > 4 * nrmse["known"]


# The faults of the table in docs/results.md


@pytest.fixture(scope="module")
def planned():
    s = scene(1e4)
    return replace(s.scan, counts=None), s.obj


@pytest.mark.parametrize("fault", nuisances.FAULTS)
def test_a_fault_is_in_the_true_scan_and_what_is_believed_is_nominal(planned, fault):
    believed, true = nuisances.flawed(fault, *planned, noise.stream(1, "noise/test", fault))
    scan, kinds = planned[0], {kind for kind, _ in nuisances.FAULTS[fault]}
    assert np.array_equal(believed.counts, true.counts)
    assert np.array_equal(believed.probe, scan.probe) and not believed.background.any()
    assert believed.mask.all() == ("stop" not in kinds) and true.mask.all() == (not kinds & {"stop", "dead", "hot"})
    assert np.array_equal(believed.positions, true.positions) == ("positions" not in kinds)
    assert np.array_equal(true.probe, scan.probe) == (not kinds & {"defocus", "aberrations", "modes", "vibration"})
    assert true.background.any() == ("background" in kinds)
    assert true.incident == pytest.approx(scan.incident, rel=1e-4), "a fault spends no photons"
    expected = true.expected(planned[1])
    excess = (true.read() - expected * true.mask).sum() / np.sqrt((expected * true.mask).sum())
    assert abs(excess) < 5, "the true scan is what was drawn"


def test_hot_pixels_count_beside_everything_else(planned):
    believed, true = nuisances.flawed("hot pixels", *planned, noise.stream(1, "noise/test"))
    rate = believed.read().mean(0) - believed.expected(planned[1]).mean(0)
    assert (~true.mask).sum() == 3 and rate[~true.mask] == pytest.approx(nuisances.HOT, rel=0.15)


def test_the_table_has_a_line_for_every_fault_and_arm_and_ratios_of_its_own_numbers():
    rows = [
        {"fault": fault, "arm": arm, "treatment": treatment, "nrmse": value * (2 if fault == "x" else 1)}
        for fault in ("clean", "x")
        for arm in ("map", "hybrid")
        for treatment, value in (("ignored", 0.4), ("known", 0.1), ("solved", 0.15))
    ]
    lines = nuisances.table(rows).splitlines()
    assert len(lines) == 6 and lines[4] == "| x | map | 0.8000 | 0.2000 | 0.3000 | 1.50 | 3.00 |"


# The shared workload


@pytest.fixture(scope="module")
def made():
    """case -> the arrays of the shared workload's scan with that fault."""
    spec = importlib.util.spec_from_file_location("nuisance", FOLDER / "nuisance.py")
    nuisance = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nuisance)
    return nuisance.make


@pytest.fixture(scope="module")
def workload(made, tmp_path_factory):
    """{case: {arm: NRMSE}} on the shared scans with one fault each, given exactly."""
    folder, found = tmp_path_factory.mktemp("nuisance"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for case in ("none", *MOST):
            np.savez(folder / f"{case}.npz", **made(case))
            found[case] = errors(*benchmark.read(folder / f"{case}.npz"))
    lines = [f"| {case} | {' | '.join(f'{row[arm]:.4f}' for arm in ARMS)} |" for case, row in found.items()]
    print("\n".join(["", "| case | map | hybrid |", "|---|---|---|", *lines]))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "nuisance.py").is_file(), reason="the shared workload is absent")
@pytest.mark.parametrize("case", MOST)
def test_a_fault_given_exactly_costs_little_on_the_shared_workload(workload, case):
    for arm in ARMS:
        assert workload[case][arm] <= MOST[case] * workload["none"][arm], (case, arm)


SOLVED = {"bg0.1": (1.10, 1.50), "probe_aberr": (1.10, 1.30), "pos1.0": (1.10, 1.20), "modes0.2": (1.10, 1.35),
          "all4": (1.10, 1.90)}  # times known, times "none"  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "nuisance.py").is_file(), reason="the shared workload is absent")
@pytest.mark.parametrize("case", SOLVED)
def test_a_fault_that_is_solved_for_costs_little_more_than_one_that_is_known(workload, made, case, tmp_path):
    arrays = made(case)
    exact = {"probeGuess": arrays["probeTrue"], "ycoords": arrays["ytrue"], "xcoords": arrays["xtrue"]}
    for name, changes in {"believed": {"background": 0.0, "mask": np.ones((64, 64), bool)}, "true": exact}.items():
        np.savez(tmp_path / f"{name}.npz", **{**arrays, **changes})
    (believed, obj), (true, _) = (benchmark.read(tmp_path / f"{name}.npz") for name in ("believed", "true"))
    found = solve.solve(believed, MEASURED, STUDY.reconstruct_map).scan
    solved, known = errors(found, obj, true), errors(true, obj)
    for arm in ARMS:
        ratios = solved[arm] / known[arm], solved[arm] / workload["none"][arm]
        assert ratios[0] <= SOLVED[case][0] and ratios[1] <= SOLVED[case][1], (arm, ratios)
