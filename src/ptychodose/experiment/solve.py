"""A scan as it was recorded -> the scan as it was: probe, positions, background and bad pixels found from its counts.

In stages, each from where the last one ended: object, probe and background; with more modes of the probe, as a light
that trembles looks like positions that are wrong, scale, rotation and shear of the positions; each position, to the
accuracy that was stated; then to the accuracy that they turned out to have, without faint modes. No truth takes part.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ptychodose.experiment import flaws
from ptychodose.experiment.joint import Joint
from ptychodose.experiment.places import affine
from ptychodose.experiment.unknowns import KNOTS, Unknowns, darkest, knots
from ptychodose.iterative import poisson_map
from ptychodose.iterative.posterior import Posterior
from ptychodose.iterative.problem import Problem
from ptychodose.physics import forward
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import MapSettings, Solve

# Iterations at most of the four stages: with what MAP takes afterwards, four times a clean MAP run at most.
FIRST, ALIGNED, PLACED, SETTLED = 15, 10, 30, 50
ROUNDS = 10  # of expectation maximisation: exact positions are found so to the tenth part of what counts tell
DRIFT = 0.3  # px rms: by less positions move together for the prior's sake, which likes a smaller object (.2 px seen)
FAINT = 0.2  # of the first mode's photons, what each further one starts with: from 2 % it takes twice the iterations
LEAST = 0.02  # of the photons: a further mode that ends with less is left out, being what noise alone makes
BLUR = 1.0  # px, of the mean pattern where it bounds the probe's spectrum
NOTHING = Solve(probe=0, positions=0.0, background=False, mask=False)


@dataclass(frozen=True)
class Solved:
    """The scan as found, and what was found: dead and hot pixels, mean background (counts per pixel), rms of the
    positions' errors (px), shares of the modes, iterations."""

    scan: Scan
    found: dict[str, float | int | list[float] | list[int]]


@dataclass(frozen=True)
class _State:
    """Where a stage ended: the scan with the mask so far; the unknowns; places as recorded, and as scale, rotation and
    shear make them; how accurate these are."""

    scan: Scan
    at: Unknowns
    recorded: Tensor
    given: Tensor
    accuracy: float
    iterations: list[int]


def solve(scan: Scan, unknown: Solve, settings: MapSettings) -> Solved:
    """Find what is `unknown` of a scan with counts. The probe's photons stay as given; a further mode starts as a
    derivative of the first (the Taylor series of a probe that trembles). Nothing unknown: the scan as it is."""
    if unknown == NOTHING:
        return Solved(scan, {})
    bad = {"dead": np.zeros_like(scan.mask), "hot": np.zeros_like(scan.mask)}
    if unknown.mask:
        total = scan.mean_pattern * len(scan)
        bad = {"dead": flaws.dead(total, scan.mask), "hot": flaws.hot(total, scan.mask)}
        scan = replace(scan, mask=scan.mask & ~bad["dead"] & ~bad["hot"])
    first = replace(unknown, positions=0.0)
    state = _descend(_begin(scan, unknown), first, settings, FIRST)
    if unknown.mask:
        more = flaws.excessive(scan.mean_pattern * len(scan), _rate(state), scan.mask)
        if more.any():
            bad["hot"] = bad["hot"] | more
            scan = replace(scan, mask=scan.mask & ~more)
            state = _descend(_begin(scan, unknown), first, settings, FIRST)
    if unknown.probe > len(state.at.probe):
        state = _with_modes(state, unknown.probe)
    if unknown.positions:
        state = _aligned(state, unknown, settings)
    state = _descend(state, unknown, settings, PLACED)
    state = replace(state, at=replace(state.at, probe=torch.as_tensor(kept(orthogonal(state.at.probe.numpy())))))
    if unknown.positions:
        state = replace(state, accuracy=accuracy(state, settings))
    state = _descend(state, replace(unknown, positions=state.accuracy), settings, SETTLED)
    return Solved(_scan(state), {name: int(where.sum()) for name, where in bad.items()} | _found(state))


def _begin(scan: Scan, unknown: Solve) -> _State:
    """The flat object, the probe as given, and the background of the darkest pixels."""
    dark = np.zeros((KNOTS, KNOTS))
    if unknown.background:
        dark = np.maximum(darkest(scan.mean_pattern - scan.background, scan.mask), 0)
    root = torch.as_tensor(np.sqrt(dark + 1e-4 * unknown.background).astype(np.float32))
    problem = Problem(_lit(scan, root))
    offsets = problem.offsets[0, :, 0].to(torch.float32)
    places = torch.complex(offsets[:, 0], offsets[:, 1])
    at = Unknowns(problem.flat(), problem.probe, places, root)
    return _State(scan, at, places, places, unknown.positions, [])


def _lit(scan: Scan, root: Tensor) -> Scan:
    """The scan with all of the background, the found part too: what flat object and weights go by."""
    inside = torch.fft.fftshift(knots(scan.size), 0).double().numpy()
    return replace(scan, background=scan.background + inside @ root.double().square().numpy() @ inside.T)


def _joint(state: _State, free: Solve, settings: MapSettings, together: Tensor | None = None) -> Joint:
    """The objective at a state; the known part of the background stays apart from the one that is solved for."""
    whole = _lit(replace(state.scan, probe=state.at.probe.numpy()), state.at.root)
    problem = Problem(whole)
    problem.rest()
    problem.background = torch.as_tensor(np.fft.ifftshift(state.scan.background).astype(np.float32))
    light = light_seen(whole)
    posterior = Posterior(problem, settings.prior, settings.smoothing, poisson_map.TYPICAL)
    return Joint(problem, posterior, state.given, free, light, state.at, together)


def light_seen(scan: Scan) -> Tensor:
    """Mean counts (N, N) that are surely the probe's light: less the background and one standard deviation of its mean,
    blurred, bad pixels by their neighbours; corner layout."""
    left = (scan.mean_pattern - scan.background - np.sqrt(scan.background / len(scan))) * scan.mask
    share = ndimage.gaussian_filter(scan.mask.astype(float), BLUR, mode="nearest")
    light = ndimage.gaussian_filter(left, BLUR, mode="nearest") / np.maximum(share, 0.05)
    return torch.as_tensor(np.fft.ifftshift(np.maximum(light, 0)).astype(np.float32))


def _descend(
    state: _State, free: Solve, settings: MapSettings, iterations: int, together: Tensor | None = None
) -> _State:
    """The state after a stage: converged, or after so many iterations."""
    joint = _joint(state, free, settings, together)
    reached, values = poisson_map.minimise(joint, state.at.vector(), iterations)
    at = state.at.of(reached)
    at = replace(at, probe=at.probe * (joint.amplitude / at.probe.norm()))
    return replace(state, at=at, iterations=[*state.iterations, len(values) - 1])


def _aligned(state: _State, unknown: Solve, settings: MapSettings) -> _State:
    """The state after positions moved together, from where each moves alone; back where they were when that is less
    than `DRIFT`."""
    moved = _descend(state, unknown, settings, ALIGNED, affine(torch.as_tensor(state.scan.positions)))
    if rms(moved.at.places - state.given) > DRIFT:
        return replace(moved, given=moved.at.places)
    return replace(moved, at=replace(moved.at, places=state.at.places))


def rms(moves: Tensor) -> float:
    """Root mean square, px of a coordinate, of moves (n,) complex, a common shift apart."""
    return math.sqrt(float(forward.measure(moves - moves.mean()).mean()) / 2)


def accuracy(state: _State, settings: MapSettings) -> float:
    """The positions' accuracy, px rms, by which they explain themselves: expectation maximisation for the variance of a
    normal prior (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977)) of moves, a common shift apart, that counts
    tell to their Fisher information and the present accuracy has shrunk."""
    away = state.at.places - state.given
    joint = _joint(state, replace(NOTHING, positions=state.accuracy), settings)
    told = torch.view_as_real(joint.stiffness).double()
    moves = torch.view_as_real(away - away.mean()).double() * (1 + 1 / (told * state.accuracy**2))
    variance = state.accuracy**2
    for _ in range(ROUNDS):
        left = 1 / (told + 1 / variance)
        variance = float(((told * left * moves).square() + left).mean())
    return math.sqrt(variance)


def _with_modes(state: _State, modes: int) -> _State:
    """The probe with `modes` modes, more than it has: y P, x P and higher products of its first one P, made orthogonal,
    each of `FAINT` of the photons."""
    made = [mode.numpy().astype(np.complex128).ravel() for mode in state.at.probe]
    size = state.at.probe.shape[-1]
    y, x = (axis.ravel() - size // 2 for axis in np.indices((size, size)))
    orders = [(j, i - j) for i in range(1, modes + 1) for j in range(i, -1, -1)]
    total = float(sum(np.vdot(mode, mode).real for mode in made))
    for a, b in orders[: modes - len(made)]:
        mode = made[0] * y**a * x**b
        for other in made:
            mode = mode - other * (np.vdot(other, mode) / np.vdot(other, other))
        made.append(mode * math.sqrt(FAINT * total / np.vdot(mode, mode).real))
    share = total / sum(np.vdot(mode, mode).real for mode in made)
    probe = math.sqrt(share) * np.stack(made).reshape(-1, size, size)
    return replace(state, at=replace(state.at, probe=torch.as_tensor(probe.astype(np.complex64))))


def _rate(state: _State) -> NDArray[np.float64]:
    """Expected counts (N, N) of the whole scan at a state, centred."""
    problem = Problem(_lit(replace(state.scan, probe=state.at.probe.numpy()), state.at.root))
    total = sum(forward.expected(state.at.obj[None], part)[0].sum(0, dtype=torch.float64) for part in problem.parts())
    assert isinstance(total, Tensor)
    return np.fft.fftshift(total.numpy())


def _scan(state: _State) -> Scan:
    """The scan with all that was found; positions stay on the object, modes are made orthogonal, brightest first."""
    scan, at, away = _lit(state.scan, state.at.root), state.at, (state.at.places - state.recorded).numpy()
    low, high = scan.size // 2, np.array(scan.shape) - scan.size + scan.size // 2
    positions = np.clip(scan.positions + np.stack([away.real, away.imag], -1), low, high)
    return replace(scan, positions=positions, probe=kept(orthogonal(at.probe.numpy())))


def orthogonal(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Modes (M, N, N) that give the same counts, orthogonal and in the order of their photons (Thibault & Menzel,
    Nature 494, 68 (2013)): right singular vectors times singular values."""
    _, values, modes = np.linalg.svd(probe.reshape(len(probe), -1).astype(np.complex128), full_matrices=False)
    return (values[:, None] * modes).reshape(probe.shape).astype(np.complex64)


def kept(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """The modes of a probe (M, N, N) that hold `LEAST` of its photons, with all the photons."""
    photons = (np.abs(probe) ** 2).sum((1, 2))
    some = photons >= LEAST * photons.sum()
    return (probe[some] * np.sqrt(photons.sum() / photons[some].sum())).astype(np.complex64)


def _found(state: _State) -> dict[str, float | list[float] | list[int]]:
    shares = (np.abs(kept(orthogonal(state.at.probe.numpy()))) ** 2).sum((1, 2))
    return {
        "background": float(state.at.background().mean()),
        "moved_px": rms(state.at.places - state.recorded),
        "modes": [float(share) for share in shares / shares.sum()],
        "iterations": state.iterations,
    }
