"""Restoring bundles: the right network comes back, anything else is one line."""

import numpy as np
import pytest
import torch

from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.networks import unrolled
from ptychodose.reconstruct import arms
from ptychodose.scans import tensors
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
    "changes, size, words",
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
