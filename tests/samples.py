"""One small valid file for every reader, made by the study's own writers, and the reader itself."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

import foreign
from ptychodose.exchange import reading
from ptychodose.exchange.found import Found, Told
from ptychodose.formats import bundle
from ptychodose.formats.atomic import write_json
from ptychodose.physics import noise
from ptychodose.physics.probes import Geometry
from ptychodose.scans import base, cxi, views
from ptychodose.scans.scan import Nodes, Scan
from ptychodose.study import manifest, params
from ptychodose.study.settings import Generate
from ptychodose.study.training_manifest import read_training_manifest
from sandbox import ROOT

SETTINGS = Generate(
    source="simulate",
    scan="none",
    base="",
    energy_ev=8800,
    distance_m=1.0,
    detector_pixel_um=172.0,
    nodes_per_diameter=10,
)
ARCHITECTURE = {"name": "unrolled", "steps": 2, "gradients": 1, "width": 4, "hidden": 1}


@dataclass(frozen=True)
class Reader:
    """`make` writes a valid file into a folder and returns its path; `read` reads such a file to the end."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def _params(folder: Path) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))))
    return path


def planned(number: int = 3, size: int = 8) -> Scan:
    """A planned scan with a background and a bad pixel."""
    mask = np.ones((size, size), bool)
    mask[2, 1] = False
    return Scan(
        counts=None,
        positions=np.linspace(10, 30, 2 * number).reshape(number, 2),
        probe=np.full((1, size, size), 1 + 2j, np.complex64),
        shape=(40, 41),
        background=np.full((size, size), 0.5),
        mask=mask,
        dose=50.0,
        geometry=Geometry(8800.0, 1.0, 172e-6),
        nodes=Nodes(np.stack(np.divmod(np.arange(number), 2), 1).astype(np.int32), 2.4),
    )


def _cxi(folder: Path) -> Path:
    path = folder / "train.cxi"
    cxi.write(path, planned(), iter([np.arange(3 * 8 * 8, dtype=np.uint32).reshape(3, 8, 8)]))
    return path


def _read_cxi(path: Path) -> object:
    with cxi.dataset(path) as found:
        counts = found.read()
    positive = (found.signal, found.nodes.pitch, found.pixel_m, found.geometry.energy_ev, found.dose)
    assert found.diameter > 0
    assert min(positive) > 0 and np.isfinite(positive).all()
    assert np.isfinite(found.positions).all() and len(found.nodes.index) == len(found) == len(counts)
    arrays = (found.positions, found.nodes.index, found.probe, found.mask, found.background)
    assert all(a.dtype.isnative for a in arrays) and found.background.min() >= 0
    return found


def _base(folder: Path) -> Path:
    path = folder / "base.npz"
    y, x = np.indices((64, 64)) - 32
    made = {"objectGuess": np.full((70, 66), 0.5 + 0.5j, np.complex64)}
    made |= {"probeGuess": (np.hypot(y, x) < 9).astype(np.complex64), "xcoords": np.array([32.0, 33.0])}
    np.savez_compressed(path, ycoords=np.array([32.0, 37.0]), **made)
    return path


def _read_base(path: Path) -> object:
    found = base.load(replace(SETTINGS, base=str(path)), noise.stream(0, "object"))
    assert np.abs(found.obj).max() < 1.000001 and np.isfinite(found.probe).all() and np.isfinite(found.centres).all()
    return found


def _view(folder: Path) -> Path:
    path, order = folder / "dense.h5", np.arange(6)
    view = views.View(order * 3, np.zeros(6, np.int32), {1: order[:, None], 4: np.stack([order[:4], order[2:]])})
    views.write(path, "dense", {"train": view, "test": view})
    return path


def _read_view(path: Path) -> object:
    found = views.read(path, "train", {1, 4})
    assert found.index.min() >= 0 and {g.max() < len(found.index) for g in found.groups.values()} == {True}
    return views.skipped(path), found, views.read(path, "test", {4})


def _bundle(folder: Path) -> Path:
    path = folder / "wts.h5.zip"
    weights = {"enter.weight": np.full((4, 3), 0.5, np.float32), "count": np.array(7, np.int64)}
    bundle.save(path, {"architecture": ARCHITECTURE, "group_size": 4, "size": 64, "dose": [1.0, 2e5]}, weights)
    return path


def _read_bundle(path: Path) -> object:
    meta, weights = bundle.load(path)
    assert json.dumps(meta, allow_nan=False) and all(np.isfinite(values).all() for values in weights.values())
    return meta, weights


def _manifest(folder: Path) -> Path:
    with contextlib.chdir(folder):
        (Path("data")).mkdir(exist_ok=True)
        Path("dvc.yaml").write_text("stages: {demo: {cmd: ls, deps: [src/a.py], params: [dose]}}")
        Path("params.yaml").write_text("dose: 5.0")
        Path("src").mkdir(exist_ok=True)
        Path("src/a.py").write_text("1")
        for name in ("in.txt", "out.txt"):
            Path("data", name).write_text(name)
        made = manifest.write_stage_manifest("demo", [Path("data/in.txt")], [Path("data/out.txt")])
    return folder / made


def _training(folder: Path) -> Path:
    path, taught = folder / "training_manifest.json", {"arm": "dense", "C": 4, "gridsize": 2, "dose": [300.0, 2e5]}
    result = {"bundle_path": "data/bundles/dense/wts.h5.zip", "bundle_sha256": "0f" * 32, "bundle_size_bytes": 35894}
    job = {**taught, "status": "success", "result": {**result, "final_loss": -2.25}}
    write_json(path, {"jobs": [job], "skipped": [{"arm": "cnn", "C": 4, "reason": "train_cnn.view is null"}]})
    return path


def _foreign(name: str, write: Callable[[Path, foreign.Truth], Path]) -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, foreign.small())


def _beside(folder: Path, name: str) -> Path:
    """A file that is read together with another of the same scan, which is written too."""
    t = foreign.small()
    np.save(folder / "positions.npy", t.positions)
    made = {
        "patterns.h5": foreign.patterns(folder / "patterns.h5", t),
        "scan.ptyr": foreign.ptyr(folder / "scan.ptyr", t),
    }
    foreign.product(folder / "product.h5", t)
    foreign.ptyd(folder / "scan.ptyd", t)
    foreign.ptychonn(folder / "ptychonn.npz", t)
    return made.get(name, folder / name)


def _import(path: Path, **told: Path) -> Found:
    found = reading.read(path, Told(**told))
    assert found.positions.shape == (len(found.counts), 2) and np.isfinite(found.positions).all()
    assert found.mask.shape == found.counts.shape[1:] and not found.counts[:, ~found.mask].any() and found.mask.any()
    waves = [wave for wave in (found.probe, found.obj) if wave is not None]
    assert all(np.isfinite(wave).all() and wave.dtype == np.complex64 for wave in waves)
    assert all(line.isprintable() for line in found.how)
    return found


READERS = {
    "params": Reader(_params, params.load),
    "cxi": Reader(_cxi, _read_cxi),
    "base": Reader(_base, _read_base),
    "view": Reader(_view, _read_view),
    "bundle": Reader(_bundle, _read_bundle),
    "manifest": Reader(_manifest, manifest.read),
    "training": Reader(_training, lambda path: read_training_manifest(path, "run `dvc repro`")),
    "ptychopinn": Reader(_foreign("scan.npz", foreign.ptychopinn), _import),
    "tike": Reader(_foreign("scan.npz", foreign.tike), _import),
    "nexus": Reader(_foreign("scan.nxs", foreign.nexus), _import),
    "matlab": Reader(_foreign("scan.mat", foreign.matlab), _import),
    "ptyd": Reader(_foreign("scan.ptyd", foreign.ptyd), _import),
    "product": Reader(
        lambda folder: _beside(folder, "product.h5"), lambda path: _import(path, patterns=path.parent / "patterns.h5")
    ),
    "product_npz": Reader(
        lambda folder: foreign.product(_beside(folder, "product.npz"), foreign.small()),
        lambda path: _import(path, patterns=path.parent / "patterns.h5"),
    ),
    "patterns": Reader(
        lambda folder: _beside(folder, "patterns.h5"), lambda path: _import(path.parent / "product.h5", patterns=path)
    ),
    "ptyr": Reader(
        lambda folder: _beside(folder, "scan.ptyr"), lambda path: _import(path.parent / "scan.ptyd", product=path)
    ),
    "ptychonn": Reader(
        lambda folder: _beside(folder, "ptychonn.npz"),
        lambda path: _import(path, positions=path.parent / "positions.npy"),
    ),
    "positions": Reader(
        lambda folder: _beside(folder, "positions.npy"),
        lambda path: _import(path.parent / "ptychonn.npz", positions=path),
    ),
}
