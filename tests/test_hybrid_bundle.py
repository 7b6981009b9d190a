"""The bundle of the hybrid: both networks come back bit for bit, anything else is refused in one line."""

import shutil
from pathlib import Path

import pytest

from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.refine import hybrid_bundle, refinement
from ptychodose.study import params
from scenes import corner, scene
from small_hybrid import SPEC, build, save

STUDY = params.load("params.yaml")
COMMITTED = ROOT / STUDY.train_hybrid.bundle


def refused(path, words):
    with pytest.raises(StudyError, match=words) as caught:
        hybrid_bundle.load(path)
    assert "\n" not in str(caught.value) and str(Path(path).parent) in str(caught.value)


def test_restored_networks_give_the_same_bits(tmp_path):
    s = scene(1e3)
    restored, flat = hybrid_bundle.load(str(save(tmp_path))), s.scan.flat()
    assert restored.spec == SPEC and not restored.training
    found = [refinement.refine(net, flat, corner(s.scan)) for net in (restored, build())]
    for name in ("obj", "error", "start_error"):
        assert getattr(found[0], name).tobytes() == getattr(found[1], name).tobytes()


def test_a_bundle_of_another_digest_is_refused(tmp_path):
    refused(save(tmp_path, bundle_sha256="0" * 64), "SHA256.*git restore")
    refused(save(tmp_path, bundle_sha256=None), "SHA256.*git restore")
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "SHA256.*git restore")
    path.unlink()
    refused(path, "missing.*git restore")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"jobs": [], "skipped": []}', '{"jobs": [{"result": {}}]}', "\xff"]
)
def test_a_missing_or_foreign_manifest_is_refused(tmp_path, text):
    path = save(tmp_path)
    record = tmp_path / hybrid_bundle.MANIFEST
    record.unlink() if text is None else record.write_bytes(text.encode("latin-1"))
    refused(path, "training_manifest.json: missing or not a training manifest.*make hybrid")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "unrolled", "steps": 2, "gradients": 1, "width": 4, "hidden": 1}, "unknown network"),
        ({**SPEC, "depth": 3}, "unknown network"),
        ({"name": "hybrid"}, "unknown network"),
        ({**SPEC, "name": "refiner"}, "unknown network"),
        ({}, "unknown network"),
        ({**SPEC, "width": 8}, "do not fit"),
        ({**SPEC, "steps": 3}, "do not fit"),
        ({**SPEC, "spread_width": 4}, "do not fit"),
    ],
)
def test_a_bundle_of_another_network_is_refused(tmp_path, spec, words):
    path = save(tmp_path, spec)
    with pytest.raises(StudyError, match=words) as caught:
        hybrid_bundle.load(path)
    assert "\n" not in str(caught.value)


def test_the_committed_bundle_loads_and_matches_its_manifest(tmp_path):
    net = hybrid_bundle.load(COMMITTED)
    meta, _ = bundle.load(COMMITTED)
    assert net.spec == meta["architecture"] and not net.training
    given = {key: getattr(STUDY.train_hybrid, key) for key in ("steps", "gradients", "width", "hidden", "spread_width")}
    assert net.spec == {"name": "hybrid", **given}, "params.yaml describes the bundle that is committed"
    for name in (COMMITTED.name, hybrid_bundle.MANIFEST):
        shutil.copy(COMMITTED.with_name(name), tmp_path / name)
    data = bytearray((tmp_path / COMMITTED.name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / COMMITTED.name).write_bytes(data)
    refused(tmp_path / COMMITTED.name, "SHA256")
