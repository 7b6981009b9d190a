"""Are these photon counts? What is no count is refused with the reason, and what is one comes back whole."""

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.exchange import counts
from scenes import scene


def test_counts_pass_and_come_back_whole():
    given = scene(1e4).scan.read()
    assert np.array_equal(counts.of_intensities(given, None, "x"), given)
    assert np.array_equal(counts.of_amplitudes(np.sqrt(given.astype(np.float32)), None, "x"), given)


def flat(rate=1.0, seed=0):
    return np.random.default_rng(seed).poisson(rate, (40, 64, 64)).astype(np.float64)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (flat() * 1.3, "not whole numbers"),
        (flat() / flat().max(), "not whole numbers"),
        (flat() * 4, "multiples of 4"),
        (flat() - 1, "no count"),
        (flat() * np.nan, "no count"),
        (np.rint(flat(1).repeat(2, 2)[:, :, :64]), "of what counting noise does"),
        (np.rint(0.3 * flat(8)), "of what counting noise does"),
        (np.rint(0.65 * flat(6)), "of what counting noise does"),
        (flat() * 2.0**33 + 1, "beyond any detector"),
    ],
    ids=[
        "gain",
        "normalised",
        "multiples",
        "negative",
        "nan",
        "smeared",
        "rounded gain",
        "slightly less than a photon",
        "huge",
    ],
)
def test_what_is_no_count_is_refused_with_the_reason_and_the_flag(values, reason):
    with pytest.raises(StudyError, match=reason) as caught:
        counts.of_intensities(values, None, "file: key")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("file: key")


def test_a_known_gain_makes_counts_of_detector_units():
    assert np.array_equal(counts.of_intensities(flat() * 12.5, 1 / 12.5, "x"), flat())


def test_the_noise_of_neighbours_is_poissons():
    assert counts.noise_ratio(flat(2.0)) == pytest.approx(1.0, abs=0.03)
    assert counts.noise_ratio(scene(1e4).scan.read().astype(float)) > 0.95
    assert counts.noise_ratio(flat(1e-3)) is None and counts.noise_ratio(flat(100.0)) is None


@pytest.mark.parametrize("kind", ["amplitude", "intensity", None])
def test_whole_numbers_are_counts_whatever_the_format_says(kind):
    given = scene(1e4).scan.read()
    assert np.array_equal(counts.of_values(given, kind, None, None, "x")[0], given)


def test_the_users_word_on_the_values_stands_above_all():
    given = scene(1e4).scan.read()
    made, line = counts.of_values(given, "intensity", "amplitude", None, "x")
    assert np.array_equal(made, given**2) and "amplitude (as you say)" in line
    assert np.array_equal(counts.of_values(given, "amplitude", "intensity", None, "x")[0], given)


def test_amplitudes_are_known_by_their_squares_and_a_gain_needs_to_know_of_what():
    given = scene(1e4).scan.read()
    amplitude = np.sqrt(given.astype(np.float32))
    for kind in ("amplitude", None):
        made, line = counts.of_values(amplitude, kind, None, None, "x")
        assert np.array_equal(made, given) and "amplitudes" in line
    for kind, values in (("amplitude", amplitude / 2), ("intensity", given / 4)):
        assert np.array_equal(counts.of_values(values, kind, None, 4.0, "x")[0], given)
    with pytest.raises(StudyError, match="--values amplitude or intensity"):
        counts.of_values(amplitude, None, None, 4.0, "x")
    with pytest.raises(StudyError, match="not whole numbers"):
        counts.of_values(amplitude, "intensity", None, None, "x")


def test_normalised_amplitudes_say_what_is_missing_and_become_counts_with_it():
    given = scene(1e4).scan.read()
    photons = given.sum() / len(given)
    amplitude = np.sqrt(given / photons)
    with pytest.raises(StudyError, match=r"normalised to 1 photons per pattern.*missing.*--counts-per-unit"):
        counts.of_values(amplitude, "amplitude", None, None, "x")
    assert np.array_equal(counts.of_values(amplitude, "amplitude", None, photons, "x")[0], given)
