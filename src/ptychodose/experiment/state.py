"""Where solving for a scan stands: what is known by now, its windows on the object, and the way to the next stage."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ptychodose.experiment import modes
from ptychodose.experiment.joint import Joint
from ptychodose.experiment.unknowns import KNOTS, Unknowns, darkest, free_root, smooth_root
from ptychodose.iterative import poisson_map
from ptychodose.iterative.posterior import Posterior
from ptychodose.iterative.problem import Problem
from ptychodose.physics import forward
from ptychodose.scans import tensors
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import MapSettings, Solve

BLUR = 1.0  # px, of the mean pattern where it bounds the probe's spectrum


@dataclass(frozen=True)
class State:
    """The scan, its windows and its mask so far; the unknowns, whose places count from the windows' middles; positions
    (n,) complex64 px, y + i x on the object, as recorded, and as scale, rotation and shear make them; how accurate
    these are, px rms; iterations of each stage."""

    scan: Scan
    at: Unknowns
    recorded: Tensor
    given: Tensor
    accuracy: float
    iterations: list[int] = field(default_factory=list)

    @property
    def positions(self) -> Tensor:
        """Where the patterns now are: (n,) complex64 px, y + i x on the object."""
        return middles(self.scan) + self.at.places

    def within(self) -> NDArray[np.float64]:
        """The positions (n, 2), those beyond the object at its edge."""
        low, high = self.scan.size // 2, np.array(self.scan.shape) - self.scan.size + self.scan.size // 2
        moved = torch.view_as_real(self.at.places - from_middles(self.scan)).double().numpy()
        return np.clip(self.scan.positions + moved, low, high)

    def solved(self) -> Scan:
        """The scan with all that was found: positions on the object, modes orthogonal, brightest first."""
        probe = modes.kept(modes.orthogonal(self.at.probe.numpy()))
        return replace(lit(self.scan, self.at), positions=self.within(), probe=probe)


def begin(scan: Scan, unknown: Solve) -> State:
    """The flat object, the probe as given, and the background of the darkest pixels."""
    dark = np.zeros((KNOTS, KNOTS))
    if unknown.background:
        dark = np.maximum(darkest(scan.mean_pattern - scan.background, scan.mask), 0)
    root, most = smooth_root(dark, len(scan))
    if unknown.background == "free":
        root, most = free_root(dark, scan.mean_pattern - scan.background, len(scan))
    if not unknown.background:
        root = torch.zeros_like(root)
    at = Unknowns(torch.zeros(()), torch.as_tensor(scan.probe), from_middles(scan), root, most)
    problem = Problem(lit(scan, at))
    recorded = torch.complex(*torch.as_tensor(scan.positions.T.astype(np.float32)))
    return State(scan, replace(at, obj=problem.flat()), recorded, recorded, unknown.positions)


def middles(scan: Scan) -> Tensor:
    """Middles (n,) complex64 of the windows, whole px, y + i x on the object."""
    return torch.complex(*torch.as_tensor(np.rint(scan.positions).T.astype(np.float32)))


def from_middles(scan: Scan) -> Tensor:
    """Positions (n,) complex64 px from the windows' middles."""
    return torch.complex(*torch.as_tensor((scan.positions - np.rint(scan.positions)).T.astype(np.float32)))


def lit(scan: Scan, at: Unknowns) -> Scan:
    """The scan with all of the background, the found part too: what flat object and weights go by."""
    return replace(scan, background=scan.background + np.fft.fftshift(at.background().double().numpy()))


def whole(state: State) -> Scan:
    """The scan as it is believed to be now, its windows as they are."""
    return lit(replace(state.scan, probe=state.at.probe.numpy()), state.at)


def joint(state: State, free: Solve, settings: MapSettings, together: Tensor | None = None) -> Joint:
    """The objective at a state; the known part of the background stays apart from the one that is solved for."""
    problem = Problem(whole(state))
    problem.rest()
    problem.background = torch.as_tensor(np.fft.ifftshift(state.scan.background).astype(np.float32))
    posterior = Posterior(problem, settings.prior, settings.smoothing, poisson_map.TYPICAL)
    given = state.given - middles(state.scan)
    return Joint(problem, posterior, given, free, light_seen(whole(state)), state.at, together)


def light_seen(scan: Scan) -> Tensor:
    """Mean counts (N, N) that are surely the probe's light: less the background and one standard deviation of its mean,
    blurred, bad pixels by their neighbours; corner layout."""
    left = (scan.mean_pattern - scan.background - np.sqrt(scan.background / len(scan))) * scan.mask
    share = ndimage.gaussian_filter(scan.mask.astype(float), BLUR, mode="nearest")
    light = ndimage.gaussian_filter(left, BLUR, mode="nearest") / np.maximum(share, 0.05)
    return torch.as_tensor(np.fft.ifftshift(np.maximum(light, 0)).astype(np.float32))


def descend(state: State, free: Solve, settings: MapSettings, iterations: int, together: Tensor | None = None) -> State:
    """The state after a stage: converged, or after so many iterations."""
    objective = joint(state, free, settings, together)
    reached, values = poisson_map.minimise(objective, state.at.vector(), iterations)
    at = state.at.of(reached)
    at = replace(at, probe=at.probe * (objective.amplitude / at.probe.norm()))
    return replace(state, at=at, iterations=[*state.iterations, len(values) - 1])


def on_object(state: State) -> Tensor:
    """The whole object (H, W), flat where the canvas does not reach."""
    made = torch.full(state.scan.shape, whole(state).level, dtype=torch.complex64)
    made[window(state.scan)] = state.at.obj
    return made


def window(scan: Scan) -> tuple[slice, slice]:
    """Where the canvas of all windows lies on the object."""
    _, origins, (height, width) = tensors.place(scan, np.arange(len(scan))[None])
    y, x = (int(v) for v in origins[0])
    return slice(y, y + height), slice(x, x + width)


def rate(state: State) -> NDArray[np.float64]:
    """Expected counts (N, N) of the whole scan at a state whose places are those of its scan, centred."""
    problem = Problem(whole(state))
    total = sum(forward.expected(state.at.obj[None], part)[0].sum(0, dtype=torch.float64) for part in problem.parts())
    assert isinstance(total, Tensor)
    return np.fft.fftshift(total.numpy())
