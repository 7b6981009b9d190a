"""Training manifests: what training wrote is read, of one arm when one is asked for (hostile ones: see test_fuzz)."""

import json

import pytest

from ptychodose.errors import StudyError
from ptychodose.study.training_manifest import read_training_manifest
from samples import READERS
from sandbox import ROOT


def refused(path, words, arm=None):
    with pytest.raises(StudyError, match=words) as caught:
        read_training_manifest(path, "retrain", arm)
    assert str(caught.value).isprintable() and str(caught.value).endswith("; retrain")


def test_what_training_wrote_is_read(tmp_path):
    path = READERS["training"].make(tmp_path)
    assert read_training_manifest(path, "retrain") == json.loads(path.read_text())
    committed = ROOT / "data/hybrid/training_manifest.json"
    assert read_training_manifest(committed, "retrain", "hybrid")["jobs"][0]["arm"] == "hybrid"


def test_another_arm_is_refused(tmp_path):
    path = READERS["training"].make(tmp_path)
    refused(path, "arm 'cnn' instead of dense", "dense")
    refused(path, "arm 'dense' instead of own", "own")


def test_absent_and_unreadable_files_are_refused(tmp_path):
    refused(tmp_path / "absent.json", r"absent\.json: missing or not a training manifest \(not found\)")
    refused(tmp_path, "missing or not a training manifest")
