"""Training: equal seeds give equal bits, equal budgets for every group size, networks that beat the flat object."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.errors import StudyError
from ptychodose.networks import predict, training, unrolled
from scenes import own, procedural, scene, tiny


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def source_of(kind, scan, size, **changes):
    return own(scan, size, **changes) if kind == "own" else procedural(size, **changes)


def fit(source, seed=1, **changes):
    settings = tiny(**changes)
    return training.train(source, training.architecture(settings), settings, seed)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", ["own", "procedural"])
def test_training_is_repeatable_and_beats_the_flat_object(bright, kind, size):
    def run(seed):
        state = torch.random.get_rng_state()
        made = fit(source_of(kind, bright, size), seed)
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


@pytest.mark.slow
def test_the_weights_kept_are_those_of_the_best_heldout_loss(bright):
    source = own(bright, 4)
    runs = (fit(source, seed=seed, learning_rate=0.3) for seed in range(20))
    trained = next(run for run in runs if run.history[-1]["heldout_loss"] > run.final_loss + 1e-3)
    assert training.heldout_loss(trained.network, source) == pytest.approx(trained.final_loss, abs=1e-7)


@pytest.mark.parametrize("kind", ["own", "procedural"])
def test_every_group_size_and_architecture_gets_the_same_visits(bright, kind):
    for architecture in ("unrolled", "cnn"):
        changes = {"architecture": architecture, "pattern_visits": 64}
        visits = {size: fit(source_of(kind, bright, size), **changes).pattern_visits for size in (1, 4)}
        assert visits == {1: 64, 4: 64}


@pytest.mark.parametrize(("size", "groups"), [(1, 8), (4, 2), (16, 1)])
def test_a_step_sees_the_same_number_of_patterns_whatever_the_group_size(size, groups):
    source, seen = procedural(size), []
    draw = source.draw
    source.draw = lambda number, rng: seen.append(number) or draw(number, rng)
    fit(source, pattern_visits=32)
    assert seen == [groups] * (32 // (groups * size))


def test_training_without_progress_stops_early(bright):
    settings = {"learning_rate": 1e-12, "pattern_visits": 160, "validations": 20, "patience": 2}
    assert fit(own(bright, 4), **settings).pattern_visits < 160


def test_a_diverging_loss_is_one_line(bright):
    source = own(bright, 4)
    source.scan = replace(source.scan, probe=source.scan.probe * np.float32("nan"))
    with pytest.raises(StudyError, match="learning_rate") as caught:
        fit(source)
    assert "\n" not in str(caught.value)


def test_cuda_without_a_gpu_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(StudyError, match="accelerator"):
            training.accelerator("cuda")
    assert training.accelerator("cpu") == "cpu"


@pytest.mark.parametrize("name", ["unrolled", "cnn"])
@pytest.mark.parametrize("size", [1, 4])
def test_predictions_do_not_depend_on_the_block(bright, name, size):
    torch.manual_seed(0)
    net = unrolled.build(training.architecture(tiny(), name))
    groups = bright.groups(size)[::4]
    found = [predict.reconstruct(predict.by_network(net), bright.scan, groups, block)[0] for block in (1, 7, 1000)]
    assert np.abs(found[0] - found[1]).max() < 1e-4 and np.abs(found[0] - found[2]).max() < 1e-4


def test_recovered_contrast_does_not_depend_on_the_dose():
    """The same scan without noise at two doses: the physics of the network returns the same object."""
    s = scene(1e6)
    torch.manual_seed(0)
    net = unrolled.build({"name": "unrolled", "steps": 6, "gradients": 3, "width": 4, "hidden": 1})
    torch.nn.init.zeros_(net.correct.leave.weight)
    torch.nn.init.zeros_(net.correct.leave.bias)
    rate, found = s.scan.expected(s.obj), []
    for factor in (1, 16):
        counts = np.rint(rate * factor).astype(np.int64)
        scan = replace(s.scan, counts=counts, probe=s.scan.probe * np.float32(factor**0.5))
        obj, weight = predict.reconstruct(predict.by_network(net), scan, s.groups(4), 16)
        found.append(obj[weight > 0.1 * weight.max()])
    for contrast in (np.abs, np.angle):
        low, high = (contrast(obj) for obj in found)
        assert low.mean() == pytest.approx(high.mean(), abs=0.02)
        assert low.std() == pytest.approx(high.std(), rel=0.1)


def test_groups_of_one_batch_may_differ_in_dose():
    """Each group's answer is the one it gets alone: nothing in a network mixes the groups of a batch."""
    source = procedural(4)
    batch, _ = source.heldout()[0]
    torch.manual_seed(0)
    net = unrolled.build(training.architecture(tiny()))
    together = net(batch)[-1]
    assert batch.level.shape == (len(batch.corners), 1, 1) and len(batch.level.unique()) > 1
    for i in range(len(batch.corners)):
        parts = {
            name: getattr(batch, name)[i : i + 1] for name in ("corners", "probes", "counts", "level", "efficiency")
        }
        found = net(replace(batch, **parts))[-1][0]
        assert torch.allclose(found, together[i], atol=1e-4)


@pytest.mark.parametrize("name", ["unrolled", "cnn"])
def test_the_correction_stays_where_light_falls(bright, name):
    """Two networks of one step that differ in what they correct: the answers agree in the dark rim alone."""
    net = unrolled.build(training.architecture(tiny(steps=1), name))
    batch, answers = procedural(4).heldout()[0][0], []
    assert batch.rim == bright.scan.rim > 8
    for bias in (0.0, 1.0):
        torch.nn.init.constant_(net.correct.leave.bias, bias)
        answers.append(net(batch)[-1])
    inside = torch.zeros(batch.shape, dtype=torch.bool)
    inside[batch.rim : -batch.rim, batch.rim : -batch.rim] = True
    assert torch.equal((answers[0] != answers[1])[0], inside)


def test_gradients_of_a_step_are_those_one_by_one():
    """Four gradients in one step are four steps of one gradient, as far as no correction is added."""
    batch, found = procedural(4).heldout()[0][0], []
    for steps, gradients in ((1, 4), (4, 1)):
        net = unrolled.build({"name": "unrolled", "steps": steps, "gradients": gradients, "width": 4, "hidden": 0})
        torch.nn.init.zeros_(net.correct.leave.weight)
        torch.nn.init.zeros_(net.correct.leave.bias)
        found.append(net(batch)[-1])
    assert torch.allclose(found[0], found[1], atol=1e-5) and not torch.allclose(found[0], batch.flat(), atol=0.1)


def test_unknown_networks_are_refused():
    for spec in ({"name": "unet"}, {"name": "cnn", "depth": 3}, {}):
        with pytest.raises(StudyError, match="unknown network"):
            unrolled.build(spec)
