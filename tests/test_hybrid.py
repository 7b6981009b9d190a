"""The hybrid: starts as plain physics, sees no difference between an image and its mirror, learns from scenes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.iterative import poisson_map
from ptychodose.iterative.problem import Problem
from ptychodose.networks.losses import relative_error
from ptychodose.physics import noise
from ptychodose.physics.forward import LIT
from ptychodose.refine import hybrid, hybrid_bundle, hybrid_training
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params
from scenes import scene

STUDY = params.load("params.yaml")
COMMITTED = ROOT / STUDY.train_hybrid.bundle
SPEC = {"name": "refiner", "steps": 2, "gradients": 2, "width": 4, "hidden": 1}
TINY = replace(STUDY.train_hybrid, scenes=2, updates=6, steps=2, gradients=1, width=4, hidden=1, learning_rate=0.01)
QUICK = replace(STUDY.reconstruct_map, iterations=30)


def build(zeroed=False, seed=0):
    torch.manual_seed(seed)
    net = hybrid.build(SPEC)
    with torch.no_grad():
        net.correct.leave.weight.mul_(0 if zeroed else 10)
        net.correct.leave.bias.mul_(0 if zeroed else 10)
    return net


def map_of(s, **given):
    known = {"weight": STUDY.reconstruct_map.weight, **given}
    settings = STUDY.reconstruct_map if known["weight"] is None else replace(STUDY.reconstruct_map, iterations=40)
    return poisson_map.solve(s.scan, settings, noise.stream(0, "solver"), **known).obj


@pytest.fixture(scope="module")
def dim():
    return scene(1e3)


@pytest.fixture(scope="module")
def start(dim):
    return map_of(dim)


@pytest.fixture(scope="module")
def example():
    return hybrid_training.make_example(3, 0, QUICK)


# The network


def test_symmetries_are_eight_and_invert():
    image = torch.arange(3 * 5 * 7).reshape(3, 5, 7)
    turned = [hybrid._turned(image, g) for g in range(hybrid.SYMMETRIES)]
    assert len({(tuple(t.shape), tuple(t.flatten().tolist())) for t in turned}) == 8
    assert all(torch.equal(hybrid._returned(t, g), image) for g, t in enumerate(turned))


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (13, 15), (70, 67), (65, 122)])
def test_the_unet_keeps_any_shape(shape):
    torch.manual_seed(0)
    found = hybrid.UNet(3, 2, 4)(torch.randn(2, 3, *shape))
    assert found.shape == (2, 2, *shape) and torch.isfinite(found).all()


def test_without_a_correction_it_takes_plain_gradient_steps(dim, start):
    problem = Problem(dim.scan)
    canvas = torch.as_tensor(start[problem.window].copy())
    net, moved = build(zeroed=True), canvas
    with torch.no_grad():
        found = net(problem, canvas)
    for t in range(net.steps):
        for _ in range(net.gradients):
            share = 2 * poisson_map.STEP * torch.sigmoid(net.stride[t]).detach()
            moved = moved - share * problem.gradient(moved) / (problem.lit + LIT * problem.lit.max())
        assert torch.allclose(found[t], moved, atol=1e-5)
    bright = problem.lit > 0.1 * problem.lit.max()
    move = ((found[-1] - canvas).abs() / hybrid.noise_sd(problem))[bright]
    assert float(move.mean()) < 0.5, "the start is nearly a solution already"


def test_a_mirrored_scan_gives_the_mirrored_object(dim):
    """The correction is averaged over all symmetries of the square, so it has no preferred direction."""
    scan = replace(dim.scan, positions=np.rint(dim.scan.positions))
    net, begin = build(), map_of(replace(dim, scan=scan))
    found = hybrid.refine(net, begin, scan)
    corners = scan.positions - 32
    for axis in (0, 1):
        turned = corners.copy()
        turned[:, axis] = scan.shape[axis] - 64 - corners[:, axis]
        counts = np.roll(np.flip(scan.counts, axis + 1), 1, axis + 1)  # frequency q becomes -q
        probe, mirrored = np.flip(scan.probe, axis + 1).copy(), np.flip(begin, axis).copy()
        other = hybrid.refine(net, mirrored, replace(scan, counts=counts, probe=probe, positions=turned + 32))
        assert np.abs(np.flip(other, axis) - found).max() < 2e-3 * np.abs(found - begin).max()


def test_pixels_without_light_keep_their_value(dim, start):
    larger = np.pad(start, ((0, 31), (0, 17)), constant_values=3 - 2j)
    found = hybrid.refine(build(), larger, dim.scan)
    assert found.shape == larger.shape and found.dtype == np.complex64
    dark = np.ones(larger.shape, bool)
    for y, x in np.rint(dim.scan.positions).astype(int) - 32:
        dark[y : y + 64, x : x + 64] = False
    assert np.array_equal(found[dark], larger[dark])
    region = scored_region([dim.scan.positions])
    assert (found[region] != larger[region]).mean() > 0.99
    assert np.array_equal(larger, np.pad(start, ((0, 31), (0, 17)), constant_values=3 - 2j)), "the start is not touched"


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 23])
def test_scans_of_any_extent_are_refined(dim, start, keep):
    some = dim.scan.select(np.arange(keep))
    found = hybrid.refine(build(), start, some)
    assert found.shape == start.shape and np.isfinite(found).all(), Problem(some).shape


def test_refining_repeats_bit_for_bit(dim, start):
    first, again = (hybrid.refine(build(), start, dim.scan) for _ in range(2))
    assert first.tobytes() == again.tobytes()


# Training


def test_examples_repeat_and_their_truth_fits_their_canvas(example):
    again, other = (hybrid_training.make_example(3, number, QUICK) for number in (0, 1))
    assert torch.equal(example.start, again.start) and torch.equal(example.truth, again.truth)
    assert example.photons != other.photons
    low, high = hybrid_training.PHOTONS
    for one in (example, other):
        assert one.truth.shape == one.start.shape == one.problem.shape and low <= one.photons <= high
        lit = torch.clamp(one.problem.lit / one.problem.photons, max=1.0)
        flat = torch.full_like(one.start, one.problem.level)
        error = [float(relative_error(image, one.truth, lit)) for image in (one.truth, one.start, flat)]
        assert error[0] < 1e-9 < error[1] < 0.7 * error[2]


def test_error_ignores_the_global_phase_only(example):
    lit = example.problem.lit
    turned = example.start * torch.exp(torch.tensor(0.8j))
    error = [float(relative_error(x, example.truth, lit)) for x in (example.start, turned)]
    assert error[0] == pytest.approx(error[1], rel=1e-4)
    scaled = relative_error(1.1 * example.truth, example.truth, lit)
    assert float(scaled) == pytest.approx(0.01, rel=1e-3)


def test_training_lowers_the_error_on_the_scene_it_sees(example, monkeypatch):
    monkeypatch.setattr(hybrid_training, "JUDGES", 1)
    monkeypatch.setattr(hybrid_training, "WARM_UP", 1)
    monkeypatch.setattr(hybrid_training, "make_example", lambda *_: example)
    said = []
    net, history = hybrid_training.train(replace(TINY, updates=12), QUICK, said.append)
    gains = [row["heldout_gain"] for row in history]
    assert gains[-1] < gains[0] - 1e-3 and min(gains) < 0 and len(said) == len(history)
    assert hybrid_training.heldout_gain(net, [example]) == pytest.approx(min(gains), abs=1e-6), "the best is kept"
    problem = hybrid_training._awake(example)
    lit = torch.clamp(problem.lit / problem.photons, max=1.0)
    with torch.no_grad():
        found = net(problem, example.start, 0)[-1]
    before, after = (relative_error(x, example.truth, lit) for x in (example.start, found))
    assert float(torch.log(after / before)) == pytest.approx(2 * min(gains), abs=1e-5), "it is truth that is nearer"


def test_training_is_repeatable(monkeypatch):
    monkeypatch.setattr(hybrid_training, "JUDGES", 1)
    monkeypatch.setattr(hybrid_training, "PHOTONS", (1e3, 2e4))

    def run(seed):
        return hybrid_training.train(replace(TINY, updates=3, seed=seed), QUICK, lambda text: None)

    (first, history), (again, repeated), (other, _) = run(1), run(1), run(2)
    weights = [net.state_dict() for net in (first, again, other)]
    assert history == repeated and all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


# The bundle


def save(folder, spec=SPEC, **changes):
    """A bundle and its training manifest, which `changes` may spoil."""
    weights = {name: tensor.numpy() for name, tensor in build().state_dict().items()}
    sha256, size = bundle.save(folder / "wts.h5.zip", {"architecture": spec}, weights)
    result = {"bundle_path": "data/hybrid/wts.h5.zip", "bundle_sha256": sha256, "bundle_size_bytes": size, **changes}
    document = {"jobs": [{"arm": "hybrid", "result": result}], "skipped": []}
    (folder / hybrid_bundle.MANIFEST).write_text(json.dumps(document))
    return folder / "wts.h5.zip"


def refused(path, words):
    with pytest.raises(StudyError, match=words) as caught:
        hybrid_bundle.load(path)
    assert "\n" not in str(caught.value) and str(Path(path).parent) in str(caught.value)


def test_a_restored_refiner_gives_the_same_bits(tmp_path, dim, start):
    data = (start, dim.scan)
    restored = hybrid_bundle.load(str(save(tmp_path)))
    assert hybrid.refine(restored, *data).tobytes() == hybrid.refine(build(), *data).tobytes()


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
        ({"name": "refiner"}, "unknown network"),
        ({}, "unknown network"),
        ({**SPEC, "width": 8}, "do not fit"),
        ({**SPEC, "steps": 3}, "do not fit"),
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
    given = {key: getattr(STUDY.train_hybrid, key) for key in ("steps", "gradients", "width", "hidden")}
    assert net.spec == {"name": "refiner", **given}, "params.yaml describes the bundle that is committed"
    for name in (COMMITTED.name, hybrid_bundle.MANIFEST):
        shutil.copy(COMMITTED.with_name(name), tmp_path / name)
    data = bytearray((tmp_path / COMMITTED.name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / COMMITTED.name).write_bytes(data)
    refused(tmp_path / COMMITTED.name, "SHA256")


@pytest.mark.slow
def test_the_committed_bundle_improves_map_on_objects_it_never_saw():
    """Few photons, dead leaves with labyrinths and fibres, where training drew clouds, cells, gratings, spheres."""
    net, ratios = hybrid_bundle.load(COMMITTED), []
    for seed in range(4):
        s = scene(1e3, seed)
        begin = map_of(s, weight=None)
        found = hybrid.refine(net, begin, s.scan)
        region = scored_region([s.scan.positions])
        before, after = (scoring.headline(scoring.score(x, s.obj, region, 1e-9))["nrmse"] for x in (begin, found))
        ratios.append(after / before)
    assert np.mean(ratios) < 0.99 and max(ratios) < 1.01, ratios
