"""Every parameter of the study as frozen dataclasses; params.yaml holds the values and the reasons.

Section `x` of params.yaml is the dataclass `X`, one field per key. Numbers carry their range here.
"""

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar

ARMS = ("baseline", "dense", "wide", "sparse", "own", "cnn")  # trained, in the order of the tables


def limit(low: float, high: float, default: Any = MISSING, *, open_low: bool = False, open_high: bool = False) -> Any:
    """A number that must lie in [low, high], or without an end that is declared open."""
    metadata = {"bounds": (low, high, open_low, open_high)}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def choice(*names: str) -> Any:
    """A text that must be one of `names`."""
    return field(metadata={"choices": names})


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """One number per source of randomness; None follows the root seed."""

    object: int | None = limit(0, 2**63 - 1, None)
    noise: int | None = limit(0, 2**63 - 1, None)
    network: int | None = limit(0, 2**63 - 1, None)


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Where counts come from: a base file, geometry and finest scan to simulate, or a measured scan."""

    source: str = choice("simulate", "measured")
    base: str
    scan: str
    energy_ev: float = limit(0, 1e6, open_low=True)
    distance_m: float = limit(0, 100, open_low=True)
    detector_pixel_um: float = limit(0, 1e4, open_low=True)
    nodes_per_diameter: int = limit(2, 100)
    background: float = limit(0, 1e6, 0.0)
    mask: str | None = None


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Views by overlap ratio 1 - step / D90; None skips a view."""

    dense: float | None = limit(0, 1, open_high=True)
    sparse: float | None = limit(0, 1, open_high=True)
    neighbours: int = limit(1, 1000)
    train_patterns: int = limit(1, 10**6)


@dataclass(frozen=True, kw_only=True)
class Train:
    """What the training arms share: what they learn from, network, budget, guard against noise fitting, execution."""

    objects: int = limit(1, 10**6)
    loss: str = choice("truth", "likelihood")
    dose_low: float = limit(0, 1e12, open_low=True)
    dose_high: float = limit(0, 1e12, open_low=True)
    architecture: str = choice("unrolled", "cnn")
    steps: int = limit(1, 100)
    gradients: int = limit(1, 100)
    width: int = limit(1, 1024)
    hidden: int = limit(0, 256)
    pattern_visits: int = limit(1, 10**9)
    patterns_per_batch: int = limit(1, 10**5)
    learning_rate: float = limit(0, 1, open_low=True)
    thinning: float = limit(0, 1, open_low=True)
    unseen: int = limit(1, 100)
    heldout: float = limit(0, 0.5, open_low=True)
    judged_patterns: int = limit(1, 10**6)
    validations: int = limit(1, 10**4)
    patience: int = limit(1, 10**4)
    accelerator: str = choice("cpu", "cuda", "auto")
    deterministic: bool
    num_workers: int = limit(0, 0)
    threads: int = limit(1, 256)
    portable: bool


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What tells the training arms apart: the view they see (None skips the arm), C, the patterns reconstructed
    jointly (0 = all of a scan on one canvas), an architecture other than the shared one."""

    view: str | None = choice("dense", "sparse")
    group_size: int = limit(0, 1000)
    architecture: str | None = field(default=None, metadata={"choices": ("unrolled", "cnn")})


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """The hybrid arm: its bundle in git, and how `make hybrid` trains it."""

    bundle: str
    seed: int = limit(0, 2**63 - 1)
    scenes: int = limit(1, 10**6)
    updates: int = limit(1, 10**8)
    steps: int = limit(1, 100)
    gradients: int = limit(1, 100)
    width: int = limit(1, 1024)
    hidden: int = limit(0, 256)
    learning_rate: float = limit(0, 1, open_low=True)
    spread_width: int = limit(1, 1024)
    spread_updates: int = limit(1, 10**8)


@dataclass(frozen=True, kw_only=True)
class Solve:
    """What of a scan is not known and solved for before any arm sees it: the probe, as so many modes (0 = known);
    positions, recorded to so many px rms (0 = exactly); a background, smooth or free in each pixel; dead and hot
    pixels. A word of `named` may stand for all four."""

    named: ClassVar[dict[str, "Solve"]] = {}
    probe: int = limit(0, 20)
    positions: float = limit(0, 100)
    background: str | None = choice("smooth", "free")
    mask: bool


MEASURED = Solve(probe=3, positions=2.0, background="smooth", mask=True)  # what every measured scan may have
NOTHING = Solve(probe=0, positions=0.0, background=None, mask=False)
Solve.named.update(measured=MEASURED, nothing=NOTHING)


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """Poisson maximum a posteriori: prior, choice of its weight by held-out photons."""

    prior: str = choice("tv", "hessian", "mixed")
    smoothing: float = limit(0, 1, open_low=True)
    weight: float = limit(0, 1e3, open_low=True)
    weight_step: float = limit(1, 100, open_low=True)
    weight_moves: int = limit(0, 20)
    heldout: float = limit(0, 0.5, open_low=True)
    iterations: int = limit(1, 10**5)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Scoring of the held-out region."""

    block_groups: int = limit(1, 10**5)
    deviance_patterns: int = limit(1, 10**6)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Bounds from the photons: the crop they are computed on, the rim left out, groups behind the ratio."""

    crop: int = limit(16, 72)
    margin: int = limit(0, 32)
    groups: int = limit(1, 100)


@dataclass(frozen=True, kw_only=True)
class Params:
    """params.yaml as a whole."""

    dose: float = limit(0, 1e12, open_low=True)
    seed: int = limit(0, 2**63 - 1)
    seeds: Seeds
    generate: Generate
    overlap: Overlap
    solve: Solve
    train: Train
    train_baseline: Arm
    train_dense: Arm
    train_wide: Arm
    train_sparse: Arm
    train_own: Arm
    train_cnn: Arm
    train_hybrid: Hybrid
    reconstruct_map: MapSettings
    compare: Compare
    limit: Limit

    def seed_of(self, source: str) -> int:
        """The number that drives `source` (object, noise or network)."""
        own = getattr(self.seeds, source)
        return self.seed if own is None else int(own)

    def views(self) -> dict[str, float | None]:
        """Overlap ratios by view."""
        return {"dense": self.overlap.dense, "sparse": self.overlap.sparse}

    def arms(self) -> dict[str, Arm]:
        """Training arms by name, in the order of the tables."""
        return {name: getattr(self, f"train_{name}") for name in ARMS}

    def group_sizes(self, names: Iterable[str] = ARMS) -> dict[str, set[int]]:
        """Every C that the arms `names` ask for, by their view."""
        arms = [self.arms()[name] for name in names]
        return {view: {arm.group_size for arm in arms if arm.view == view} for view in self.views()}


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe:
    """Defocused zone plate (see phantom.zone_plate_probe for the symbols)."""

    outer_zone_width_nm: float = limit(0, 1e4, open_low=True)
    central_stop: float = limit(0, 1, open_high=True)
    defocus_um: float = limit(-1e6, 1e6)
    edge_px: float = limit(0, 100, open_low=True)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A procedural base: patch size N, object rows and columns in px, contrast, probe."""

    size: int = field(metadata={"choices": (64, 128)})
    rows: int = limit(65, 8192)
    columns: int = limit(65, 8192)
    phase_std: float = limit(0, 1.5, open_low=True)
    amplitude_std: float = limit(0, 0.25, open_low=True)
    probe: ProbeRecipe
