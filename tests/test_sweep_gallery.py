"""The gallery: objects that DVC keeps of an experiment, drawn on one scale."""

import shutil

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.formats.h5 import write_arrays
from ptychodose.formats.png import save_figure
from ptychodose.physics import noise, textures
from ptychodose.sweeps import gallery
from ptychodose.sweeps.dvc_queue import DvcQueue
from sandbox import Study

REGION = (slice(2, 42), slice(0, 50))


EXPERIMENT = f"refs/exps/ab/{'c' * 38}/sweep-1"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A DVC repository whose experiment has a truth and three objects, none of them in the workspace; and the truth."""
    folder = tmp_path_factory.mktemp("kept")
    truth = textures.synthetic_object((150, 122), 0.5, 0.1, noise.stream(0, "object")).astype(np.complex64)
    for name, turn in {"scan/truth": 1, "reconstructions/map": 1j, "reconstructions/flat": 1}.items():
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / f"data/{name}.h5", {"obj": truth * np.complex64(turn)})
    write_arrays(folder / "data/reconstructions/dense.h5", {"obj": -truth})
    study = Study(folder, folder / "home")
    for line in (
        "git init -q", "dvc init -q", "dvc add -q data/scan/truth.h5 data/reconstructions",
        "git add .dvc/config data", "git commit -qm x", f"git update-ref {EXPERIMENT} HEAD", "git rm -rq data",
        "git commit -qm y --allow-empty", "rm -r data",
    ):  # fmt: skip
        study.run(*line.split())
    return folder, truth


@pytest.fixture
def truth(kept, tmp_path, monkeypatch):
    """The truth, with a copy of the repository as current folder."""
    shutil.copytree(kept[0], tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return kept[1]


def test_objects_are_those_of_the_experiment(truth):
    found = gallery.objects(DvcQueue(), EXPERIMENT)
    assert set(found) == {"truth", "map", "dense"}, "arms it has, of those the gallery shows"
    assert (found["truth"] == truth).all() and (found["map"] == 1j * truth).all()


def test_an_emptied_cache_is_one_line(truth, tmp_path):
    shutil.rmtree(".dvc/cache")
    with pytest.raises(StudyError, match="`dvc exp remove sweep-1`") as caught:
        gallery.objects(DvcQueue(), EXPERIMENT)
    assert "\n" not in str(caught.value)


def test_every_dose_is_a_column_and_a_missing_arm_leaves_a_gap(truth, tmp_path):
    found = gallery.objects(DvcQueue(), EXPERIMENT)
    few = {name: image for name, image in found.items() if name != "dense"}
    figure = gallery.gallery({1e4: found, 1e3: few}, {1e4: REGION, 1e3: REGION}, {1e4: 190.0, 1e3: 19.0})
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles[0].startswith("1,000\n") and titles[1].startswith("10,000\n")
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["truth", "dense", "map", "phase (rad)"]
    scales = {image.get_clim() for axes in figure.axes for image in axes.get_images()}
    assert len(scales) == 1
    panels = [image.get_array() for axes in figure.axes[:6] for image in axes.get_images()]
    assert {panel.shape for panel in panels} == {(40, 50)}
    assert all(np.abs(panel - panels[0]).max() < 1e-6 for panel in panels), "phases of truth, whatever its factor"
    save_figure(lambda: figure, tmp_path / "gallery.png")
