"""Photon statistics."""

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import noise


def test_poisson_mean_equals_variance():
    rates = np.array([0.05, 1.0, 7.0, 300.0])
    counts = noise.draw_counts(np.broadcast_to(rates, (40000, 4)), noise.stream(1, "noise/train")).astype(float)
    assert counts.mean(0) == pytest.approx(rates, rel=0.05)
    assert counts.var(0) == pytest.approx(rates, rel=0.05)


@pytest.mark.parametrize("rate", [2.0**32, 1e30, np.nan, np.inf])
def test_counts_that_would_wrap_are_never_drawn(rate):
    """Not by training either, whose doses are parameters of their own."""
    rng = noise.stream(4, "noise/train")
    with pytest.raises(StudyError, match="more than a file can count; lower the dose"):
        noise.draw_counts(np.array([1.0, rate]), rng)
    assert 0.9999 * noise.BRIGHTEST < noise.draw_counts(np.array([noise.BRIGHTEST]), rng)[0] < 2**32 - 1


def test_thinning_is_poisson_with_independent_parts():
    rng = noise.stream(2, "noise/train")
    counts = noise.draw_counts(np.full(200_000, 6.0), rng)
    kept = noise.thin(counts, 0.3, rng).astype(float)
    removed = counts - kept
    assert kept.mean() == pytest.approx(1.8, rel=0.02)
    assert kept.var() == pytest.approx(1.8, rel=0.02)
    assert abs(np.corrcoef(kept, removed)[0, 1]) < 0.01


def test_thinning_by_all_or_nothing():
    counts = np.arange(20, dtype=np.uint32)
    rng = noise.stream(3, "network")
    assert (noise.thin(counts, 1.0, rng) == counts).all() and not noise.thin(counts, 0.0, rng).any()


def test_streams_are_repeatable_and_differ():
    draw = lambda *key: noise.stream(*key).random(4).tolist()  # noqa: E731
    assert draw(5, "object") == draw(5, "object")
    assert len({tuple(draw(*key)) for key in [(5, "object"), (6, "object"), (5, "network"), (5, "views", 1)]}) == 4
    with pytest.raises(ValueError, match="not in tuple"):
        noise.stream(5, "nonsense")


@pytest.mark.parametrize(("which", "number"), [("123456789", 0xCBF43926), (7, 7)])
def test_a_named_stream_is_the_child_of_its_crc32(which, number):
    """0xCBF43926 is the check value of CRC-32 (ISO 3309); the purpose comes first in the key."""
    child = np.random.SeedSequence(5, spawn_key=(5, number))
    assert noise.stream(5, "views", which).random() == np.random.Generator(np.random.Philox(child)).random()
