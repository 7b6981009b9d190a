"""Restoring bundles: the right network comes back, anything else is one line."""

import numpy as np
import pytest
import torch

from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.networks import unrolled
from ptychodose.reconstruct import arms
from ptychodose.scans import tensors
from ptychodose.study import params
from scenes import scene

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
    rows = arms.networks(trial, params.load("params.yaml"), [{"arm": "dense"}])
    assert {name: (row.view, row.group_size) for name, row in rows.items()} == dict.fromkeys(
        ("dense", "dense_thinned"), ("dense", 4)
    )
    share = 15 / 88
    assert rows["dense"].share == 1 and rows["dense_thinned"].share == pytest.approx(share)
    full, few = given["dense"], given["dense_thinned"]
    assert few.counts.sum() == pytest.approx(share * full.counts.sum(), rel=0.02)
    assert few.incident == pytest.approx(share * full.incident, rel=1e-5) and few.dose == pytest.approx(1e4 * share)
