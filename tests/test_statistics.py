"""Statistics against known answers: coverage, pairing, collapse."""

import numpy as np
import pytest
from scipy.stats import binom

from ptychodose.sweeps import statistics


def test_mean_and_sample_standard_deviation_of_known_numbers():
    assert statistics.mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0), "squares over n - 1"
    assert statistics.mean_sd([4.0]) == (4.0, None)
    for bad in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match=r"finite|empty"):
            statistics.mean_sd(bad)


def test_bootstrap_repeats_contains_the_mean_and_stays_inside_the_range():
    values = [0.3, 0.1, 0.25, 0.2, 0.6]
    low, high = statistics.bootstrap_mean(values, seed=1)
    assert (low, high) == statistics.bootstrap_mean(values, seed=1)
    assert min(values) <= low <= np.mean(values) <= high <= max(values)
    within = statistics.bootstrap_mean(values, seed=1, level=0.5)
    assert low < within[0] < within[1] < high
    assert statistics.bootstrap_mean([0.2, 0.2, 0.2], seed=1) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("level", [None, 0.5, 0.8, 0.98])
def test_the_interval_holds_the_middle_of_all_resampled_means(level):
    values = [1.0] * 15 + [0.0] * 25  # a resample's mean is a binomial number over 40
    found = statistics.bootstrap_mean(values, 3) if level is None else statistics.bootstrap_mean(values, 3, level)
    level = level or 0.95
    assert found == tuple(binom.ppf([(1 - level) / 2, (1 + level) / 2], 40, 15 / 40) / 40)


def test_the_default_interval_is_pinned_to_its_resamples():
    values = [0.3101, 0.1037, 0.2571, 0.2003, 0.6419, 0.0507, 0.1213]
    assert statistics.bootstrap_mean(values, 2026) == pytest.approx((0.124271429, 0.391442857), abs=1e-8)


@pytest.mark.parametrize(("runs", "coverage"), [(3, 0.74), (5, 0.85), (7, 0.87), (20, 0.935)])
def test_coverage_of_the_interval_is_what_the_module_says(runs, coverage):
    rng = np.random.Generator(np.random.Philox(runs))
    draws = [statistics.bootstrap_mean(rng.normal(size=runs), seed=i, draws=400) for i in range(1500)]
    assert np.mean([low <= 0 <= high for low, high in draws]) == pytest.approx(coverage, abs=0.03)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        statistics.bootstrap_mean([1.0, 2.0], 0, level)


def test_pairs_are_matched_by_run_not_by_place():
    dense, baseline = {"a": 1.0, "b": 2.0, "d": 9.0}, {"b": 5.0, "c": 7.0, "a": 3.0}
    assert statistics.paired(dense, baseline).tolist() == [-2.0, -3.0]
    assert statistics.paired(dense, {}).shape == (0,)
    assert statistics.ratio(dense, baseline) == pytest.approx(np.sqrt(1 / 3 * 2 / 5))
    assert statistics.ratio(dense, {}) is None


def test_pairing_removes_what_runs_share():
    rng = np.random.Generator(np.random.Philox(0))
    shared = rng.normal(size=7)
    dense, baseline = dict(enumerate(shared - 0.1)), dict(enumerate(shared))
    assert statistics.bootstrap_mean(statistics.paired(dense, baseline), 0) == pytest.approx((-0.1, -0.1))


@pytest.mark.parametrize(
    ("nrmse", "flat", "valid", "lost"),
    [
        (0.2, 0.5, 1.0, False),
        (0.5, 0.5, 1.0, True),
        (0.9, 0.5, 1.0, True),
        (0.2, 0.5, 0.49, True),
        (0.2, 0.5, 0.5, False),
        (9, None, 1, False),
    ],
)
def test_a_run_no_better_than_flat_or_mostly_empty_has_collapsed(nrmse, flat, valid, lost):
    assert statistics.collapsed(nrmse, flat, valid) is lost
