"""Restoring bundles: the right network comes back, anything else is one line."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.networks import unrolled
from ptychodose.physics import noise
from ptychodose.reconstruct import arms, reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction, Refinement
from ptychodose.scans import tensors
from ptychodose.study import params
from scenes import ROOT, scene

STUDY = params.load(ROOT / "params.yaml")
SPEC = {"name": "unrolled", "steps": 2, "gradients": 1, "width": 4, "hidden": 1}


def saved(path, spec=SPEC, weights_of=SPEC, **changes):
    torch.manual_seed(0)
    net = unrolled.build(weights_of)
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    sha256, _ = bundle.save(path, {"architecture": spec, "group_size": 4, "size": 64, **changes}, weights)
    job = {"arm": "dense", "C": 4, "result": {"bundle_path": str(path), "bundle_sha256": sha256}}
    return net, job


def test_a_restored_network_predicts_the_same_bits(tmp_path):
    net, job = saved(tmp_path / "wts.h5.zip")
    restored = arms.network_of(job, 64)
    s = scene(1e4)
    batch, _ = tensors.batch(s.scan, s.groups(4)[:1], (90, 90))
    with torch.no_grad():
        assert torch.equal(net(batch)[-1], restored(batch)[-1])


@pytest.mark.parametrize(
    ("changes", "size", "words"),
    [
        ({"group_size": 1}, 64, r"\(C, N\) = \(1, 64\)"),
        ({}, 128, r"needs \(4, 128\)"),
        ({"size": None}, 64, "this study needs"),
        ({"spec": {**SPEC, "width": 8}}, 64, "do not fit"),
        ({"spec": {**SPEC, "steps": 3}}, 64, "do not fit"),
        ({"spec": {"name": "other"}}, 64, "unknown network"),
    ],
)
def test_other_bundles_are_refused_in_one_line(tmp_path, changes, size, words):
    _, job = saved(tmp_path / "wts.h5.zip", **changes)
    with pytest.raises(StudyError, match=words) as caught:
        arms.network_of(job, size)
    assert "\n" not in str(caught.value)


def test_a_replaced_bundle_is_refused_by_its_digest(tmp_path):
    _, job = saved(tmp_path / "wts.h5.zip")
    saved(tmp_path / "wts.h5.zip", architecture=SPEC, note=np.pi)
    with pytest.raises(StudyError, match="SHA256"):
        arms.network_of(job, 64)


def test_the_thinned_row_is_solved_with_the_thinned_photons_and_probe(monkeypatch):
    """88 patterns against 15: the row that is thinned to their photons sees 15 / 88 of everything."""
    trial, given = scene(1e4).trial("dense", "sparse"), {}
    monkeypatch.setattr(arms, "network_of", lambda job, size: torch.nn.Identity())
    monkeypatch.setattr(arms, "stitched", lambda scan, groups, solver, name, block: given.setdefault(name, scan).flat())
    rows = arms.networks(trial, params.load("params.yaml"), [{"arm": "dense", "dose": [300, 2e5]}])
    assert {name: (row.view, row.group_size) for name, row in rows.items()} == dict.fromkeys(
        ("dense", "dense_thinned"), ("dense", 4)
    )
    share = 15 / 88
    assert rows["dense"].share == 1 and rows["dense_thinned"].share == pytest.approx(share)
    full, few = given["dense"], given["dense_thinned"]
    assert few.counts.sum() == pytest.approx(share * full.counts.sum(), rel=0.02)
    assert few.incident == pytest.approx(share * full.incident, rel=1e-5) and few.dose == pytest.approx(1e4 * share)


@pytest.mark.parametrize(
    ("doses", "rows"),
    [([300, 2e5], ["dense", "dense_thinned"]), ([9e3, 2e5], ["dense"]), ([300, 1.8e3], ["dense_thinned"]),
     (1e4, ["dense"]), (300, [])],
)  # fmt: skip
def test_a_network_is_not_used_outside_the_doses_that_taught_it(monkeypatch, capsys, doses, rows):
    """10,000 photons per pattern, and 1,705 when thinned."""
    trial = scene(1e4).trial("dense", "sparse")
    monkeypatch.setattr(arms, "network_of", lambda job, size: torch.nn.Identity())
    monkeypatch.setattr(arms, "stitched", lambda scan, *_: scan.flat())
    found = arms.networks(trial, params.load("params.yaml"), [{"arm": "dense", "dose": doses}])
    said = capsys.readouterr().out
    assert list(found) == rows and said.count("left out; its network was taught by") == 2 - len(rows)


def of_stage(monkeypatch, views, solved):
    """Rows of the MAP stage with a hybrid that returns its start halved; what it was given, by case."""
    s, given = scene(1e4), []

    def improve(start, scan, params, rng):
        given.append((start.weight, scan, rng.random()))
        return Reconstruction(start.obj / 2, 0.2 * start.obj, blend=0.6, start_error=0.1 * start.obj)

    registry = {"map": None, "hybrid": Refinement("map", improve)}
    monkeypatch.setattr(reconstructors, "REGISTRY", registry)
    return arms.of_stage(s.trial(*views), params.load("params.yaml"), solved), given


def solution(value, weight):
    return Reconstruction(np.full((150, 122), value, np.complex64), weight=weight)


def test_an_arm_that_knows_its_own_error_keeps_it(monkeypatch):
    known = replace(solution(2, 0.3), error=np.full((150, 122), 7 + 8j, np.complex64))
    rows, _ = of_stage(monkeypatch, ("dense", "sparse"), {"map_sparse": known})
    assert (rows["map_sparse"].error == 7 + 8j).all() and (rows["hybrid_sparse"].error != 7 + 8j).all()


def test_map_and_hybrid_have_rows_on_the_sparse_view_and_on_its_photons(monkeypatch):
    """88 patterns against 15."""
    solved = {"map": solution(9, 9.0), "map_sparse": solution(2, 0.3), "map_thinned": solution(3, 0.5)}
    rows, given = of_stage(monkeypatch, ("dense", "sparse"), solved)
    share, study = pytest.approx(15 / 88), params.load("params.yaml")
    assert {name: (row.view, row.group_size, row.share, row.weight, row.blend) for name, row in rows.items()} == {
        "map_sparse": ("sparse", None, 1.0, 0.3, None),
        "hybrid_sparse": ("sparse", None, 1.0, None, 0.6),
        "map_thinned": ("dense", None, share, 0.5, None),
        "hybrid_thinned": ("dense", None, share, None, 0.6),
    }
    for name, obj, error in (("map_sparse", 2, 0.2), ("hybrid_sparse", 1, 0.4), ("map_thinned", 3, 0.3),
                             ("hybrid_thinned", 1.5, 0.6)):  # fmt: skip
        assert (rows[name].obj == obj).all() and rows[name].error == pytest.approx(error)
    (sparse_weight, sparse, a), (thinned_weight, thinned, b) = given
    assert (sparse_weight, thinned_weight, len(sparse), len(thinned)) == (0.3, 0.5, 15, 88)
    full = scene(1e4).scan
    assert thinned.counts.sum() == pytest.approx(full.counts.sum() * 15 / 88, rel=0.02)
    assert thinned.incident == pytest.approx(full.incident * 15 / 88, rel=1e-5)
    assert sparse.counts.sum() == full.counts[::6].sum()
    assert [a, b] == [noise.stream(study.seed, "solver", f"hybrid_{case}").random() for case in ("sparse", "thinned")]


@pytest.mark.parametrize(("views", "left"), [(("dense",), []), (("sparse",), ["map_sparse", "hybrid_sparse"])])
def test_what_the_stage_did_not_solve_has_no_row(monkeypatch, views, left):
    solved = {"map": solution(1, 0.5)} | ({"map_sparse": solution(2, 0.3)} if "sparse" in views else {})
    rows, _ = of_stage(monkeypatch, views, solved)
    assert list(rows) == left


def test_halves_share_no_photon_and_maps_weight(monkeypatch):
    """What was chosen with all photons is not chosen anew: half-data FRC is of one method."""
    seen, trial = [], scene(1e4).trial("dense", "sparse")

    def solve(scan, settings, rng, weight=None):
        seen.append((scan, weight))
        return SimpleNamespace(obj=np.full(scan.shape, len(seen), np.complex64))

    monkeypatch.setattr(arms.poisson_map, "solve", solve)
    starts = []
    improve = lambda start, scan, *_: starts.append(start.weight) or start.obj  # noqa: E731
    monkeypatch.setattr(arms.reconstructors, "REGISTRY", {"map": None, "toy": Refinement("map", improve)})
    found = arms.of_halves(trial, STUDY, [], 0.7)
    (first, a), (second, b) = seen
    assert (first.read() + second.read() == trial.scan.read()).all() and first.dose == pytest.approx(5000)
    assert [a, b, *starts] == [0.7] * 4
    made = {name: [obj[0, 0].real for obj in objects] for name, objects in found.items()}
    assert made == {"map": [1, 2], "toy": [1, 2]}
