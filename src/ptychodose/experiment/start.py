"""A probe for a scan whose file has none: the amplitude of the mean pattern, the defocus that explains the counts best.

Conjugating object and probe and turning both by 180 degrees gives the same patterns at positions that are turned, too:
where these are as recorded, the likelihood tells one sign of the defocus from the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptychodose.experiment.state import State, begin, descend, joint
from ptychodose.experiment.unknowns import darkest, filled
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import NOTHING, MapSettings

RADII = (0.0, 0.06, 0.12, 0.2, 0.3)  # of a window's side, what defocus makes of a focus, to either side of it
EDGE = 0.9  # share of the light within the radius at which the phase of a defocus is counted
BRIEF, LONG = 15, 40  # iterations that every start has, and those that the best two have after them
UNKNOWN = replace(NOTHING, probe=1, background="smooth")


@dataclass(frozen=True)
class Start:
    """probe (1, N, N) complex64 with the photons of the mean pattern; which start it came from; how many nats per
    pattern its scan is likelier than the next one's, and every start's nats per pattern after `BRIEF`."""

    probe: NDArray[np.complex64]
    name: str
    lead: float
    tried: dict[str, float]


def probe_from(
    scan: Scan, settings: MapSettings, others: Mapping[str, NDArray[np.complexfloating]] | None = None
) -> Start:
    """The probe of a scan, whatever stands for it there: the most likely after a few iterations for object, probe and
    background. `others`: further starts (N, N) by name, such as `probes.zone_plate_probe` of a plate that is known."""
    starts = {f"focus spread to {radius:+.2f} of the window": probe for radius, probe in defocused(scan).items()}
    found = {name: _tried(scan, probe, settings) for name, probe in {**starts, **(others or {})}.items()}
    tried = {name: value / len(scan) for name, (_, value) in found.items()}
    best = {}
    for name in sorted(tried, key=lambda each: tried[each])[:2]:
        state = descend(found[name][0], UNKNOWN, settings, LONG)
        best[name] = state, _value(state, settings) / len(scan)
    (name, (state, least)), *rest = sorted(best.items(), key=lambda item: item[1][1])
    lead = min((value for _, (_, value) in rest), default=least) - least
    return Start(state.at.probe.numpy(), name, lead, tried)


def defocused(scan: Scan) -> dict[float, NDArray[np.complex128]]:
    """Probes (N, N) by the share of the window that their focus is spread to: the root of the mean pattern without its
    background, under a phase of a defocus. Its slope at radius k moves light by phase' N / (2 pi) px."""
    size, mean = scan.size, filled(scan.mean_pattern, scan.mask, 1)
    far = np.sqrt(np.maximum(mean - np.median(darkest(mean, scan.mask)), 0))
    square = ((np.indices((size, size)) - size // 2) ** 2).sum(0)
    order = np.argsort(square, axis=None)
    within = np.cumsum((far**2).ravel()[order])
    edge = np.sqrt(square.ravel()[order][np.searchsorted(within, EDGE * within[-1])])
    probes = {}
    for radius in sorted({sign * each for each in RADII for sign in (1, -1)}):
        wave = far * np.exp(1j * np.pi * radius * square / edge)
        probes[radius] = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(wave)))
    return probes


def _tried(scan: Scan, probe: NDArray[np.complexfloating], settings: MapSettings) -> tuple[State, float]:
    """The state from a probe (N, N) after `BRIEF` iterations, and what is minimised, nats."""
    photons = np.sqrt(scan.mean_pattern.sum() / (np.abs(probe) ** 2).sum())
    started = begin(replace(scan, probe=(probe * photons).astype(np.complex64)[None]), UNKNOWN)
    state = descend(started, UNKNOWN, settings, BRIEF)
    return state, _value(state, settings)


def _value(state: State, settings: MapSettings) -> float:
    return joint(state, UNKNOWN, settings)(state.at.vector())[0]
