"""The gallery: objects from DVC's cache by an experiment's dvc.lock, drawn on one scale."""

import hashlib
import json

import numpy as np
import pytest
import yaml

from ptychodose.compare import figures
from ptychodose.errors import StudyError
from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import noise, textures
from ptychodose.sweeps import gallery

REGION = (slice(2, 42), slice(0, 50))


def stored(cache, obj, name):
    """A file in the cache under its MD5."""
    path = cache.parent / name
    write_arrays(path, {"obj": obj})
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    (cache / md5[:2]).mkdir(parents=True, exist_ok=True)
    path.rename(cache / md5[:2] / md5[2:])
    return md5


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / ".dvc/cache/files/md5"
    cache.mkdir(parents=True)
    truth = textures.synthetic_object((150, 122), 0.5, 0.1, noise.stream(0, "object")).astype(np.complex64)
    files = {
        name: stored(cache, truth * turn, f"{name}.h5") for name, turn in (("map", 1j), ("flat", 1), ("dense", -1))
    }
    listing = json.dumps([{"md5": md5, "relpath": f"{name}.h5"} for name, md5 in files.items()]).encode()
    folder = hashlib.md5(listing).hexdigest()
    (cache / folder[:2]).mkdir(exist_ok=True)
    (cache / folder[:2] / f"{folder[2:]}.dir").write_bytes(listing)
    outs = [
        {"path": "data/simulated/truth.h5", "md5": stored(cache, truth, "truth.h5")},
        {"path": "data/reconstructions", "md5": f"{folder}.dir"},
    ]
    return truth, yaml.safe_dump({"stages": {"compare": {"outs": outs}}})


def test_objects_are_those_of_the_experiment_cut_to_the_region(experiment):
    truth, text = experiment
    found = gallery.objects(text, REGION)
    assert set(found) == {"truth", "map", "dense"}, "arms it has, of those the gallery shows"
    assert (found["truth"] == truth[REGION]).all() and (found["map"] == 1j * truth[REGION]).all()


def test_an_emptied_cache_is_one_line(experiment, tmp_path):
    _, text = experiment
    md5 = yaml.safe_load(text)["stages"]["compare"]["outs"][0]["md5"]
    (tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    with pytest.raises(StudyError, match="make sweep") as caught:
        gallery.objects(text, REGION)
    assert "\n" not in str(caught.value)


def test_every_dose_is_a_column_and_a_missing_arm_leaves_a_gap(experiment, tmp_path):
    found = gallery.objects(experiment[1], REGION)
    few = {name: image for name, image in found.items() if name != "dense"}
    figure = gallery.gallery({1e4: found, 1e3: few}, {1e4: 190.0, 1e3: 19.0})
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles[0].startswith("1,000\n") and titles[1].startswith("10,000\n")
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["truth", "dense", "map", "phase (rad)"]
    scales = {image.get_clim() for axes in figure.axes for image in axes.get_images()}
    assert len(scales) == 1
    figures.save(figure, tmp_path / "gallery.png")
