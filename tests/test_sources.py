"""What networks learn from: losses that prefer truth, photons shared out once, nothing of the study's own object."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.errors import StudyError
from ptychodose.networks import own_scan, predict, procedural, procedural_scans, training
from ptychodose.networks.losses import likelihood_loss
from ptychodose.networks.procedural_scans import ProceduralScans, template
from ptychodose.physics import forward, noise, textures
from ptychodose.scans import tensors
from ptychodose.scans.groups import unseen_neighbours
from ptychodose.scans.scan import of_arrays
from scenes import own, scene, tiny, zone_plate
from scenes import procedural as scans


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


# A measured scan


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("thinning", [1.0, 0.8])
def test_loss_at_truth_is_below_flat_mirrored_and_conjugated_objects(bright, size, thinning):
    groups = bright.groups(size)[::5]
    unseen = unseen_neighbours(bright.scan.positions, groups, np.arange(len(bright.scan)), 4)
    seen, judged = own_scan.make_batches(bright.scan, groups, unseen, thinning, noise.stream(3, "network"))
    _, origins, _ = tensors.place(bright.scan, groups)

    def loss(obj):
        return float(likelihood_loss(predict.by_object(obj)(seen, origins), judged))

    truth = loss(bright.obj)
    flat = bright.scan.flat()
    for wrong in (flat, bright.obj[:, ::-1].copy(), bright.obj[::-1].copy(), bright.obj.conj(), bright.obj * 1.1):
        assert truth < loss(wrong)


def test_thinned_batches_share_out_every_photon(bright):
    groups, unseen = bright.groups(4)[:3], bright.groups(1)[:3]
    seen, judged = own_scan.make_batches(bright.scan, groups, unseen, 0.7, noise.stream(0, "network"))
    total = seen.counts + judged.counts[:, :4]
    expected = np.fft.ifftshift(bright.scan.counts[groups], axes=(-2, -1))
    assert (total.numpy() == expected).all()
    assert float(seen.counts.sum() / total.sum()) == pytest.approx(0.7, abs=0.02)
    background = replace(bright.scan, background=np.full((64, 64), 0.5))
    dim, rest = own_scan.make_batches(background, groups, unseen, 0.7, noise.stream(0, "network"))
    assert torch.allclose(dim.background[0], torch.tensor(0.35)), "the background is shared out like the probe"
    assert torch.allclose(rest.background[:, 0, 0], torch.tensor([0.15] * 4 + [0.5]))
    energy = (seen.probes.abs() ** 2).sum() / (judged.probes[:, :4].abs() ** 2).sum()
    assert float(energy) == pytest.approx(0.7 / 0.3, rel=1e-4)


def test_unseen_neighbours_are_near_and_not_in_the_group(bright):
    groups = bright.groups(4)
    allowed = np.arange(10, len(bright.scan))
    unseen = unseen_neighbours(bright.scan.positions, groups, allowed, 4)
    assert unseen.shape == (len(groups), 4) and unseen.min() >= 10
    assert not (unseen[:, :, None] == groups[:, None, :]).any()


def test_no_pattern_both_teaches_and_judges(bright):
    learn, judge = own_scan.split(bright.scan.positions, bright.groups(4), tiny(heldout=0.25))
    used = [set(np.concatenate([p.groups.ravel(), p.unseen.ravel()])) for p in (learn, judge)]
    assert not used[0] & used[1]


def test_every_group_is_drawn_once_per_pass(bright):
    source, rng = own(bright, 4), noise.stream(0, "network")
    first, second = ([source.draw(1, rng)[0].counts.numpy().tobytes() for _ in range(source.groups)] for _ in range(2))
    assert first != second and sorted(first) == sorted(second) and len(set(first)) == source.groups


def test_too_few_patterns_to_hold_a_strip_out(bright):
    groups = np.arange(12).reshape(3, 4)
    with pytest.raises(StudyError, match="heldout"):
        own_scan.split(bright.scan.positions[:12], groups, tiny())


# Procedural scans


def batches(source, seed, number=3):
    rng = noise.stream(seed, "network")
    return [source.draw(2, rng)[0] for _ in range(number)]


def test_a_seed_gives_the_same_batches_and_another_seed_others():
    first, again, other = batches(scans(4), 0), batches(scans(4), 0), batches(scans(4), 5)
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one.counts, two.counts) and torch.equal(one.probes, two.probes)
        assert torch.equal(one.corners, two.corners) and torch.equal(one.level, two.level)
        assert not torch.equal(one.counts[0], three.counts[0])


def test_another_seed_means_other_objects():
    positions, groups = template(2.4, 3, 4, 7, 1)
    planned = of_arrays(None, zone_plate(), positions, (0, 0))
    one, two = (ProceduralScans(planned, groups, tiny(objects=2), seed) for seed in (1, 2))
    for mine, other in zip([*one.objects, *one.judges], [*two.objects, *two.judges], strict=True):
        assert mine.shape == other.shape and not np.array_equal(mine, other)


def test_what_judges_is_fixed_and_never_drawn():
    source = scans(4)
    before = [batch.counts for batch, _ in source.heldout()]
    batches(source, 0)
    after = [batch.counts for batch, _ in source.heldout()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    for judge in source.judges:
        assert not any(np.array_equal(judge, obj) for obj in source.objects)


def incident(batch):
    """Photons of the probe that would be detected of the flat object, by group."""
    return (forward.measure(batch.probes).sum((2, 3, 4)).mean(1) * batch.level[:, 0, 0] ** 2).numpy()


def test_counts_follow_the_dose():
    fixed = batches(scans(4, objects=40, dose_low=3000, dose_high=3000), 0, 40)
    assert np.concatenate([incident(batch) for batch in fixed]) == pytest.approx(3000, rel=1e-3)
    detected = np.concatenate([batch.counts.sum((2, 3)).mean(1).numpy() for batch in fixed])
    assert detected.mean() == pytest.approx(3000, rel=0.05) and detected.std() < 0.25 * 3000


def test_doses_are_spread_over_their_range():
    drawn = np.concatenate([incident(batch) for batch in batches(scans(1, dose_low=100, dose_high=1e6), 0, 30)])
    assert drawn.min() >= 99 and drawn.max() <= 1.01e6
    assert 3 < np.log10(drawn).mean() < 5 and np.log10(drawn).std() > 0.8


def windows(obj, shape):
    """Every window (h, w) of an object in every orientation, by orientation and corner."""
    rows, columns = (full - have + 1 for full, have in zip(obj.shape, shape, strict=True))
    return {(g, y, x): procedural.turned(obj, g)[y : y + shape[0], x : x + shape[1]]
            for g in range(8) for y in range(rows) for x in range(columns)}  # fmt: skip


@pytest.mark.parametrize("loss", ["truth", "likelihood"])
@pytest.mark.parametrize("size", [1, 4])
def test_truth_lies_in_the_groups_frame(loss, size):
    """One window of the object, and no other, has the loss of the truth, and predicts what the group saw."""
    source = scans(size, objects=1, loss=loss, dose_low=1e6, dose_high=1e6)
    batch, judge = source.draw(1, noise.stream(4, "network"))
    found = {corner: torch.as_tensor(w.copy())[None] for corner, w in windows(source.objects[0], batch.shape).items()}
    seen = {c: float(likelihood_loss(canvas, batch)) for c, canvas in found.items()}
    judged = {corner: float(judge(canvas)) for corner, canvas in found.items()}
    g, y, x = min(seen, key=seen.get)
    assert min(judged, key=judged.get) == (g, y, x)
    flat = float(judge(batch.flat()))
    for beside in ((g, y - 1, x), (g, y + 1, x), (g, y, x - 1), (g, y, x + 1)):
        if beside in judged:
            assert judged[g, y, x] < judged[beside] and seen[g, y, x] < 0.5 * seen[beside]
    assert judged[g, y, x] < flat - 5 if loss == "truth" else judged[g, y, x] < 0.1 * flat


@pytest.mark.parametrize("loss", ["truth", "likelihood"])
@pytest.mark.parametrize(("size", "patterns"), [(1, 1), (4, 4), (16, 16), (0, 49)])
def test_every_group_size_trains(size, patterns, loss):
    source = scans(size, loss=loss, objects=2, judged_patterns=4)
    batch, judge = source.draw(2, noise.stream(0, "network"))
    assert batch.counts.shape == (2, patterns, 64, 64) and batch.probes.shape == (2, patterns, 1, 64, 64)
    assert batch.corners.shape == (2, patterns, 2)
    assert batch.level.shape == (2, 1, 1) and batch.flat().shape == (2, *batch.shape)
    assert int(batch.corners.min()) == 0 and (batch.corners.amax((0, 1)) + 64).tolist() == list(batch.shape)
    assert torch.isfinite(judge(batch.flat()))
    settings = tiny(loss=loss, pattern_visits=1, steps=1)
    trained = training.train(source, training.architecture(settings), settings, 1)
    assert trained.pattern_visits >= patterns and np.isfinite(trained.final_loss)


def test_a_whole_scan_has_its_unseen_neighbours_around_it():
    positions, groups = template(2.4, 3, 0, 7, 1)
    inside = set(groups[0].tolist())
    assert len(inside) == 49 and len(positions) == 64
    rim = [i for i in range(64) if i not in inside]
    assert (positions[rim] > positions[sorted(inside)].mean(0)).any(1).all()


def test_likelihood_of_unseen_patterns_teaches_too():
    source = scans(4, loss="likelihood", dose_low=1e4, dose_high=1e4)
    settings = tiny(loss="likelihood")
    trained = training.train(source, training.architecture(settings), settings, 1)
    assert trained.final_loss < trained.history[0]["heldout_flat"]


# Procedural objects and probes


def test_training_never_draws_the_families_of_the_studys_object():
    """Networks are judged on dead leaves, labyrinths and fibres: none of `textures`'s textures is used to train."""
    theirs = dict(inspect.getmembers(textures, inspect.isfunction))
    for name, texture in procedural.FAMILIES.items():
        assert texture not in theirs.values() and name not in theirs and texture.__name__ not in theirs
        assert texture.__module__ == "ptychodose.networks.procedural"
    assert not hasattr(procedural, "textures"), "not even imported"
    assert not hasattr(procedural_scans, "textures")


@pytest.mark.parametrize("family", procedural.FAMILIES)
def test_textures_are_finite_repeat_with_their_seed_and_vary(family):
    texture = procedural.FAMILIES[family]
    first, again, other = (texture((70, 55), noise.stream(seed, "procedural")) for seed in (1, 1, 2))
    assert first.shape == (70, 55) and np.isfinite(first).all() and first.std() > 0
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_procedural_objects_are_transmissions_and_scenes_hold_their_photons():
    for seed in range(4):
        rng = noise.stream(seed, "procedural")
        probe = procedural.draw_probe(64, rng)
        assert float((np.abs(probe) ** 2).sum()) == pytest.approx(1, rel=1e-3)
        scan, obj = procedural.draw_scene(probe, 7.0, 60.0, 20.0, rng)
        assert np.abs(obj).max() <= 1 + 1e-6 and np.angle(obj).std() > 0.02
        rate = scan.expected(obj)  # raises where a patch sticks out
        assert rate.sum() / len(scan) == pytest.approx(20 * 7.0**2, rel=1e-4)
        assert scan.counts.sum() == pytest.approx(rate.sum(), abs=5 * rate.sum() ** 0.5)


def test_procedural_scans_have_the_background_and_the_mask_of_the_study():
    positions, groups = template(2.4, 3, 4, 7, 1)
    mask = np.random.default_rng(0).random((64, 64)) < 0.9
    planned = of_arrays(None, zone_plate(), positions, (0, 0))
    planned = replace(planned, background=np.full((64, 64), 5.0), mask=mask)
    source = ProceduralScans(planned, groups, tiny(objects=2, dose_low=300, dose_high=300), 1)
    batch, judge = source.draw(2, noise.stream(0, "network"))
    assert (batch.background == 5).all() and torch.equal(torch.fft.fftshift(batch.mask).bool(), torch.as_tensor(mask))
    good = batch.counts[..., batch.mask.bool()]
    assert (
        float(good.mean()) == pytest.approx(5 + 300 / 64**2, rel=0.02) and not batch.counts[..., batch.mask == 0].any()
    )
    assert (batch.efficiency < 0.5).all() and torch.isfinite(judge(batch.flat()))
    measured = ProceduralScans(replace(planned, dose=600.0), groups, source.settings, 1)
    dim, _ = measured.draw(2, noise.stream(0, "network"))
    assert dim.background.numpy() == pytest.approx(2.5), "a measured one grows with the photons"


def test_the_strip_held_out_is_a_quarter_at_the_largest_y(bright):
    positions, groups = bright.scan.positions, bright.groups(1)
    learn, judge = own_scan.split(positions, groups, tiny(heldout=0.25))
    low, high = positions[learn.groups, 0], positions[judge.groups, 0]
    assert low.max() <= high.min() and len(judge.groups) == pytest.approx(len(positions) / 4, abs=1)
    assert len(learn.groups) + len(judge.groups) == len(positions)


def test_what_judges_a_measured_scan_is_the_strip(bright):
    source = own(bright, 4, heldout=0.25)
    seen = np.concatenate([batch.counts.sum((2, 3)).numpy() for batch, _ in source.heldout()])
    strip = bright.scan.read(source.judge.groups).sum((2, 3))
    assert {tuple(row) for row in seen.astype(int).tolist()} <= {tuple(row) for row in strip.tolist()}


def test_procedural_groups_say_what_share_of_their_information_is_left():
    """Share sum s^2 / (s + b) / sum s of the expected signal s of the group beside a background b."""
    positions, groups = template(2.4, 3, 1, 7, 1)
    planned = of_arrays(None, zone_plate(), positions, (0, 0))
    shares = {}
    for b in (0.0, 0.1, 1.0):
        given = replace(planned, background=np.full((64, 64), b))
        source = ProceduralScans(given, groups, tiny(objects=1, dose_low=300, dose_high=300), 1)
        batch, _ = source.draw(1, noise.stream(0, "network"))
        shares[b] = float(batch.efficiency)
        if b:
            x, y = batch.corners[0, 0].tolist(), batch.shape
            assert x == [0, 0] and y == (64, 64)
            signal = [forward.expected(torch.as_tensor(w.copy())[None], batch)[0, 0].numpy() - b
                      for w in windows(source.objects[0], (64, 64)).values()]  # fmt: skip
            each = [(s**2 / (s + b)).sum() / s.sum() for s in signal]
            assert min(each) < shares[b] < max(each) < 0.95
    assert shares[0.0] == 1 and shares[1.0] < shares[0.1]


def test_the_eight_orientations_of_an_object_differ():
    obj = np.arange(9).reshape(3, 3).astype(np.complex64)
    found = [procedural.turned(obj, g) for g in range(8)]
    assert len({made.tobytes() for made in found}) == 8 and (found[0] == obj).all()
    assert (found[1] == obj.T[::-1]).all() and (found[4] == obj.T).all()
