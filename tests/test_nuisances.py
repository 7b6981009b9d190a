"""What a background and bad pixels cost when they are known: on one small scene always, on the shared workload's scans
where these are present."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from closure import ROOT
from ptychodose.bounds import fisher, limits
from ptychodose.compare import benchmark
from ptychodose.iterative import poisson_map
from ptychodose.physics import noise
from ptychodose.reconstruct import reconstructors
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params
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


def errors(scan, truth):
    """NRMSE of MAP and of the hybrid."""
    found = {}
    for name in ARMS:
        found[name] = reconstructors.run(name, scan, STUDY, noise.stream(1, "solver"), found)
    region = scored_region([scan.positions])
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


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    """{case: {arm: NRMSE}} on the shared scans with one fault each, given exactly."""
    spec = importlib.util.spec_from_file_location("nuisance", FOLDER / "nuisance.py")
    nuisance = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nuisance)
    folder, found = tmp_path_factory.mktemp("nuisance"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for case in ("none", *MOST):
            np.savez(folder / f"{case}.npz", **nuisance.make(case))
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
