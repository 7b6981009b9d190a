"""Training: the real loss prefers truth, the networks learn without it, equal seeds give equal bits."""

import numpy as np
import pytest
import torch

from ptychodose import network, noise, predict, simulate, training
from ptychodose.errors import StudyError
from ptychodose.groups import Patterns, unseen_neighbours
from scenes import scene, tiny


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def patterns_of(s):
    return Patterns(s.counts, s.positions, s.probe, s.counts.sum() / len(s.counts))


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("thinning", [1.0, 0.8])
def test_loss_at_truth_is_below_flat_mirrored_and_conjugated_objects(bright, size, thinning):
    groups = bright.groups(size)[::5]
    unseen = unseen_neighbours(bright.positions, groups, np.arange(len(bright.positions)), 4)
    rng = noise.stream(3, "network")
    patterns = patterns_of(bright)
    seen, judged = training.make_batches(patterns, groups, unseen, thinning, rng)
    _, origins, _ = patterns.place(groups)

    def loss(obj):
        return float(training.loss_of(predict.by_object(obj)(seen, origins), judged))

    truth = loss(bright.obj)
    flat = np.full_like(bright.obj, patterns.start)
    for wrong in (flat, bright.obj[:, ::-1].copy(), bright.obj[::-1].copy(), bright.obj.conj(), bright.obj * 1.1):
        assert truth < loss(wrong)


def test_thinned_batches_share_out_every_photon(bright):
    groups, unseen = bright.groups(4)[:3], bright.groups(1)[:3]
    seen, judged = training.make_batches(patterns_of(bright), groups, unseen, 0.7, noise.stream(0, "network"))
    total = seen.counts + judged.counts[:, :4]
    expected = np.fft.ifftshift(bright.counts[groups], axes=(-2, -1))
    assert (total.numpy() == expected).all()
    assert float(seen.counts.sum() / total.sum()) == pytest.approx(0.7, abs=0.02)
    energy = (seen.probes.abs() ** 2).sum() / (judged.probes[:, :4].abs() ** 2).sum()
    assert float(energy) == pytest.approx(0.7 / 0.3, rel=1e-4)


def test_unseen_neighbours_are_near_and_not_in_the_group(bright):
    groups = bright.groups(4)
    allowed = np.arange(10, len(bright.positions))
    unseen = unseen_neighbours(bright.positions, groups, allowed, 4)
    assert unseen.shape == (len(groups), 4) and unseen.min() >= 10
    assert not (unseen[:, :, None] == groups[:, None, :]).any()


def test_no_pattern_both_teaches_and_judges(bright):
    learn, judge = training.split(bright.positions, bright.groups(4), tiny(heldout=0.25))
    used = [set(np.concatenate([p.groups.ravel(), p.unseen.ravel()])) for p in (learn, judge)]
    assert not used[0] & used[1]


@pytest.mark.parametrize("size", [1, 4])
def test_training_is_repeatable_and_beats_the_flat_object(bright, size):
    def run(seed):
        state = torch.random.get_rng_state()
        groups = bright.groups(size)
        made = training.train(bright.counts, bright.positions, groups, bright.probe, tiny(heldout=0.3), seed)
        assert (torch.random.get_rng_state() == state).all(), "global random state untouched"
        return made

    first, again, other = run(1), run(1), run(2)
    weights = [made.network.state_dict() for made in (first, again, other)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])
    assert first.history == again.history
    assert first.final_loss < first.history[0]["heldout_flat"]
    assert first.final_loss == min(row["heldout_loss"] for row in first.history)
    assert first.pattern_visits == 128 and first.epochs_completed > 0


def test_every_group_size_gets_the_same_visits(bright):
    for architecture in ("unrolled", "cnn"):
        visits = {
            size: training.train(
                bright.counts,
                bright.positions,
                bright.groups(size),
                bright.probe,
                tiny(heldout=0.3, architecture=architecture, pattern_visits=64),
                1,
            ).pattern_visits
            for size in (1, 4)
        }
        assert visits == {1: 64, 4: 64}


def test_a_diverging_loss_is_one_line(bright):
    dark = bright.probe * np.float32("nan")
    with pytest.raises(StudyError, match="learning_rate"):
        training.train(bright.counts, bright.positions, bright.groups(4), dark, tiny(heldout=0.3), 1)


def test_too_few_patterns_to_hold_a_strip_out(bright):
    few = slice(0, 12)
    groups = np.arange(12).reshape(3, 4)
    with pytest.raises(StudyError, match="heldout"):
        training.train(bright.counts[few], bright.positions[few], groups, bright.probe, tiny(), 1)


def test_cuda_without_a_gpu_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(StudyError, match="accelerator"):
            training.accelerator("cuda")
    assert training.accelerator("cpu") == "cpu"


@pytest.mark.parametrize("name", ["unrolled", "cnn"])
@pytest.mark.parametrize("size", [1, 4])
def test_predictions_do_not_depend_on_the_block(bright, name, size):
    torch.manual_seed(0)
    net = network.build(training.architecture(tiny(architecture=name)))
    groups = bright.groups(size)
    found = [
        predict.reconstruct(predict.by_network(net), patterns_of(bright), groups, bright.obj.shape, block)[0]
        for block in (1, 7, 1000)
    ]
    assert np.abs(found[0] - found[1]).max() < 1e-4 and np.abs(found[0] - found[2]).max() < 1e-4


def test_recovered_contrast_does_not_depend_on_the_dose():
    """The same scan without noise at two doses: the physics of the network returns the same object."""
    s = scene(1e6)
    torch.manual_seed(0)
    net = network.build({"name": "unrolled", "steps": 6, "gradients": 3, "width": 4, "hidden": 1})
    torch.nn.init.zeros_(net.correct.leave.weight)
    torch.nn.init.zeros_(net.correct.leave.bias)
    rate, found = simulate.expected_counts(s.obj, s.probe, s.positions), []
    for factor in (1, 16):
        counts = np.rint(rate * factor).astype(np.int64)
        patterns = Patterns(counts, s.positions, s.probe * np.float32(factor**0.5), counts.sum() / len(counts))
        obj, weight = predict.reconstruct(predict.by_network(net), patterns, s.groups(4), s.obj.shape, 16)
        found.append(obj[weight > 0.1 * weight.max()])
    for contrast in (np.abs, np.angle):
        low, high = (contrast(obj) for obj in found)
        assert low.mean() == pytest.approx(high.mean(), abs=0.02)
        assert low.std() == pytest.approx(high.std(), rel=0.1)


def test_unknown_networks_are_refused():
    for spec in ({"name": "unet"}, {"name": "cnn", "depth": 3}, {}):
        with pytest.raises(StudyError, match="unknown network"):
            network.build(spec)
