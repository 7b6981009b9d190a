"""Break one line of the code at a time and see whether a test notices: `python tests/mutations.py [--only WORDS]`.

Constants, selection rules and reported numbers are what a test of behaviour overlooks most easily. A SURVIVED line
names a change that no named test sees: give it a test whose value does not come from the code (a published constant, a
brute force, a count by hand).
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGE = ("torch._dynamo", "scipy.signal", "scipy.optimize", "skimage.metrics", "skimage.registration", "h5py", "yaml")

# A line without indent names a file under src/ and the tests that should notice; then `old => new`, \n for a new line.
MUTATIONS = r"""
ptychodose/physics/lattice.py | scan
    jitter = rng.uniform(-pitch / 2, pitch / 2, => jitter = 0 * rng.uniform(-pitch / 2, pitch / 2,
    jitter = rng.uniform(-pitch / 2, pitch / 2, => jitter = rng.uniform(-pitch / 4, pitch / 4,
    abs(exact - nearest) > 1e-6 => abs(exact - nearest) > 0.3
    (high - low - (size + 1)) / 2 => (high - low - (size - 1)) / 2
    centred = (nodes.max(0) % step) // 2 => centred = 0 * (nodes.max(0) % step)
    np.concatenate([centred[None], rest[ => np.concatenate([rest[:1], centred[None], rest[
    else members[: wanted - total] => else members
ptychodose/physics/overlap.py | measures
    fraction: float = 0.9 => fraction: float = 0.8
    .query(unique, k=reach + 1) => .query(unique, k=reach + 2)
    unique = np.unique(positions, axis=0) => unique = positions
    >= (1 - share) * energy.sum() => >= share * energy.sum()
    RIM = 0.0005 => RIM = 0.05
    return counts / (patterns * step**2) => return counts / (patterns * step)
    return size**2 / step**2 => return 2 * size**2 / step**2
ptychodose/physics/noise.py | noise
    zlib.crc32(which.encode()) => len(which)
    return rng.poisson(rate).astype => return np.rint(rate).astype
    rng.binomial(counts.astype(np.int64), keep) => np.rint(counts * keep)
    (STREAMS.index(name), number) => (STREAMS.index(name), 0)
ptychodose/physics/forward.py | forward constants
    FLOOR = 0.05 => FLOOR = 0.5
    LIT = 0.02 => LIT = 0.2
    DARK = 1e-3 => DARK = 1e-1
    / patterns.mask.sum() => / patterns.mask.numel()
    return (each * patterns.mask).sum( => return each.sum(
    ratio *= patterns.mask => ratio *= 1
    self.background + FLOOR => 0 * self.background + FLOOR
    (far_field(canvas, patterns))) + patterns.background => (far_field(canvas, patterns)))
ptychodose/scans/scan.py | one_scan
    [unique].astype(np.int64) * self.mask => [unique].astype(np.int64)
    self.dose * share, self.background * share => self.dose * share, self.background
    self.dose * share, self.background * share => self.dose, self.background * share
    np.float32(share**0.5) => np.float32(share)
    - self.background[self.mask].sum()) => - self.background.sum())
    float(self.detected_share[self.mask].sum()) => float(self.detected_share.sum())
    flat = self.detected_share * self.incident * self.level**2 => flat = self.detected_share * self.incident
    (signal * weight)[mask].sum() => (signal * weight).sum()
    self._of(np.concatenate(rest), 1 - share) => self._of(np.concatenate(kept), share)
    np.min_scalar_type(int(counts.max())) => np.uint16
    np.min_scalar_type(int(counts.max())) => np.int64
    overlap.photons_per_pixel(self.signal * len(self) => overlap.photons_per_pixel(self.incident * len(self)
ptychodose/scans/trial.py | trial
    return self.of("dense").thin(share, => return self.of("dense").thin(1.0,
    noise.stream(noise_seed, "thinning")) => noise.stream(noise_seed, "thinning"))._of(self.of("dense").counts, 1.0)
    len(self.views["sparse"].index) / len(self.views["dense"].index) => 1.0
ptychodose/scans/groups.py | scan
    covered[group] = True => covered[group[0]] = True
    [near[:, :1], np.take => [near[:, -1:], np.take
    (near[:, :, None] != groups[:, None, :]).all(2) => (near[:, :, None] != groups[:, None, :]).any(2)
    first = np.argsort(~foreign => first = np.argsort(foreign
    centroids = positions[groups].mean(1) => centroids = positions[groups[:, 0]]
    np.argsort(rng.random(( => np.argsort(0 * rng.random((
ptychodose/scans/views.py | views
    overlap.between_images(mine, neighbours - 1, diameter) => overlap.between_images(mine, neighbours, diameter)
    nbar / (scan.pixel_m * 1e6) ** 2 => nbar / (scan.pixel_m * 1e6)
    return max(self.neighbours, size) => return self.neighbours
    "overlap_ratio": 1 - width / diameter => "overlap_ratio": 1 - step / diameter
    overlap.sampling_ratio(scan.size, width) => overlap.sampling_ratio(scan.size, step)
    scan.incident / width**2 => scan.incident / width
    total += n * value => total += value
ptychodose/scans/acquisition.py | simulate
    (scan.expected(obj, part), rng) * scan.mask => (scan.expected(obj, part), rng)
    f"jitter/{split}" => "jitter/train"
    / settings.nodes_per_diameter => / (settings.nodes_per_diameter + 1)
ptychodose/networks/own_scan.py | sources
    > np.quantile(positions[:, 0], 1 - settings.heldout) => > np.quantile(positions[:, 0], settings.heldout)
    strip = positions[:, 0] > => strip = positions[:, 0] + 30 * (positions[:, 1] > 60) >
    self._batch(self.judge, part, 1.0, None) => self._batch(self.learn, part, 1.0, None)
    allowed = np.flatnonzero(inside) => allowed = np.arange(len(inside))
    shares[: groups.shape[1]] = 1 - thinning => shares[: groups.shape[1]] = 1
ptychodose/networks/losses.py | constants sources
    torch.nn.functional.pad(canvas - level => torch.nn.functional.pad(canvas
    aligned = canvas * (product / => aligned = canvas * (product.conj() /
    return 0.5 * torch.log( => return torch.log(
ptychodose/networks/fitting.py | constants
    STEP_WEIGHT = 0.8 => STEP_WEIGHT = 0.5
    .flip(0) => 
    CLIP = 0.5 => CLIP = 5.0
    self.stale = 0 if loss < self.best => self.stale = 0 if loss > self.best
    self.recent.append(float(losses[-1] => self.recent.append(float(losses[0]
ptychodose/networks/training.py | constants training
    JUDGED_STEPS = 3 => JUDGED_STEPS = 1
    max(1, steps / 10) => max(1, steps / 2)
    * 0.5 * (1 + math.cos(math.pi * step / steps)) => 
    max(1, settings.patterns_per_batch // source.size) => settings.patterns_per_batch
    float(judge(canvas)) * len(batch.corners) => float(judge(canvas))
ptychodose/networks/unrolled.py | constants training
    * batch.level**2 * batch.efficiency => * batch.level**2
    * batch.level**2 * batch.efficiency => * batch.efficiency
    batch.level * 0.5 * torch.rsqrt => batch.level * torch.rsqrt
    .lit] = start - stride * total => .lit] = start
    total += gradient => total = gradient
ptychodose/networks/features.py | constants
    portable.asinh(plane) if squash else plane => plane
    portable.log10(lit + 1e-3) + 1.5 => portable.log10(lit + 1e-3)
ptychodose/networks/procedural_scans.py | sources
    noise.draw_counts(rate, rng) * scan.mask => noise.draw_counts(rate, rng)
    (rate - scan.background).mean(0), scan.background, => rate.mean(0), scan.background,
ptychodose/networks/stitch.py | stitch constants
    SWEEPS = 4 => SWEEPS = 0
    final.add(corner, piece * weight * phase, weight) => final.add(corner, piece * weight * phase, 1 + 0 * weight)
    final.add(corner, piece * weight * phase, weight) => final.add(corner, piece * phase, 1 + 0 * weight)
ptychodose/networks/predict.py | stitch
    weights.append(lit[:height, :width].cpu().numpy()) => weights.append(1 + 0 * lit[:height, :width].cpu().numpy())
    fill=scan.level) => fill=1.0)
    padded[y : y + height, x : x + width] => padded[y + 1 : y + 1 + height, x : x + width]
ptychodose/iterative/descent.py | constants descent
    MEMORY = 8 => MEMORY = 3
    SHORTEST = 1e-3 => SHORTEST = 1e-6
ptychodose/iterative/descent.py | descent
    ARMIJO = 1e-4 => ARMIJO = 1e-2
    ARMIJO = 1e-4 => ARMIJO = 1e-6
    SOLVED = 0.05 => SOLVED = 0.2
    SHORTEST = 1e-3 => SHORTEST = 1e-6
    SHORTEST = 1e-3 => SHORTEST = 1e-1
    pairs[-MEMORY + 1 :] => pairs[-MEMORY:]
    if along > 0: => if along < 0:
    promise, length = 2 * dot => promise, length = dot
    if reached <= value + ARMIJO * length * promise: => if True:
    if found is None and pairs: => if found is None and not pairs:
    length *= min(0.5, max(0.1, -0.5 * promise * length / excess)) => length *= 0.5
    enough = SOLVED**2 * size => enough = SOLVED * size
    way = conditioned + (size / before) * way => way = conditioned
    reversed(shares), strict=True) => shares, strict=True)
ptychodose/iterative/posterior.py | constants posterior
    ROUNDS = 8 => ROUNDS = 2
    SHALLOW = 1e-3 => SHALLOW = 1e-1
ptychodose/iterative/posterior.py | posterior
    BOOST = 0.1 => BOOST = 0.0
    SHALLOW = 1e-3 => SHALLOW = 1e-2
    (self.problem.photons * self.problem.efficiency) => (self.problem.efficiency)
    (self.problem.photons * self.problem.efficiency) => (self.problem.photons)
    self.problem.efficiency) * self.problem.level => self.problem.efficiency)
    slope + self.strength * bound(image) => slope + bound(image)
    return lit * way + self.strength * bound(way) => return lit * way
    surplus[0, 0] = 0 => surplus[0, 0] = 1
    + smooth + SHALLOW) => + SHALLOW)
    .sum()) / 4 => .sum()) / 2
    ahead - (flat.conj() * back).conj()) => ahead)
    + problem.background + FLOOR => + FLOOR
ptychodose/iterative/poisson_map.py | constants map_choice poisson_map posterior
    PULL, TYPICAL = 0.5, 1.0 => PULL, TYPICAL = 0.0, 1.0
    PULL, TYPICAL = 0.5, 1.0 => PULL, TYPICAL = 0.5, 2.0
    CONVERGED = 3e-5 => CONVERGED = 3e-3
    LATELY = 5 => LATELY = 2
    PROBE_STEP = 0.5 => PROBE_STEP = 0.1
    PROBE_EVERY = 3 => PROBE_EVERY = 10
ptychodose/iterative/poisson_map.py | map_choice poisson_map posterior
    PULL, TYPICAL = 0.5, 1.0 => PULL, TYPICAL = 0.0, 1.0
    CONVERGED = 3e-5 => CONVERGED = 3e-3
    < LATELY * enough => < enough
    share = 1 - settings.heldout => share = settings.heldout
    math.sqrt((1 - share) / share) => math.sqrt(share / (1 - share))
    float(rest.losses(canvas).mean()) => float(kept.losses(canvas).mean())
    found[near].canvas if near in found else kept.flat() => kept.flat()
    for direction in (1, -1): => for direction in (1,):
    while abs(best) < moves and => while abs(best) < 1 and
    loss(best + direction, best) < lowest: => loss(best + direction, best) <= lowest:
    (found[best].probe / share**0.5).numpy() => found[best].probe.numpy()
    weight_of(best + vertex(found, best)) => weight_of(best)
    0.5 * (left - right) / bend => 0.5 * (right - left) / bend
    problem.flat() if chosen.canvas is None else chosen.canvas => problem.flat()
ptychodose/iterative/priors.py | constants
    "mixed": (0.5, 0.3) => "mixed": (0.5, 0.5)
    "mixed": (0.5, 0.3) => "mixed": (0.4, 0.3)
    SECOND = (1.0, 1.0), (1.0, 1.0, 2.0) => SECOND = (1.0, 1.0), (1.0, 1.0, 1.0)
ptychodose/iterative/priors.py | priors
    return (4 * self.first + 20 * self.second) => return (4 * self.first + 12 * self.second)
    one, two = ((0.5 * f / n) => one, two = ((1.0 * f / n)
    xy.mul_(self.second), 1).mul_(2) => xy.mul_(self.second), 1)
ptychodose/iterative/problem.py | constants poisson_map memory
    KEPT = 2**22 => KEPT = 2**40
    <= KEPT: => <= 1e12:
    0.1 * self.lit.max()].median() => 0.1 * self.lit.max()].max()
    self.level, self.efficiency = scan.level, scan.efficiency => self.level, self.efficiency = scan.level, 1.0
ptychodose/refine/hybrid.py | constants hybrid refinement
    STEP = 0.5 => STEP = 0.25
    SYMMETRIES = 8 => SYMMETRIES = 4
    obj = moved + torch.exp(self.gain[t]) * sd * => obj = moved + torch.exp(self.gain[t]) *
    , g) / len(chosen) => , g)
    problem.lit.max()) * problem.efficiency) => problem.lit.max()))
    return 0.5 * torch.rsqrt( => return torch.rsqrt(
    torch.full((steps,), -1.5) => torch.full((steps,), 0.0)
ptychodose/refine/refinement.py | constants refinement
    AGAIN = 15 => AGAIN = 1
    blend * (net.refiner(problem, before)[-1] - before) => (net.refiner(problem, before)[-1] - before)
    largest = complex(errors.max(), errors.max()) => largest = complex(errors.max(), 0)
    made = [found, torch.complex(errors[2], errors[3]), => made = [found, torch.complex(errors[0], errors[3]),
    scan.split(1 - settings.heldout, rng) => scan.split(settings.heldout, rng)
    rest.losses(before + share * move) => kept.losses(before + share * move)
    refiner(kept, before)[-1] - before => refiner(kept, before)[0] - before
    return share if loss(share) < losses[0] else 0.0 => return share
    if bend <= 0: => if bend <= -1e9:
    0.5 + 0.25 * (first - last) / bend => 0.5 + 0.5 * (first - last) / bend
ptychodose/refine/spread.py | constants spread
    POWER = 1.5 => POWER = 2.0
    GAUSSIAN = 1.1057 => GAUSSIAN = 1.0
ptychodose/refine/spread.py | spread refinement
    POWER = 1.5 => POWER = 2.0
    GAUSSIAN = 1.1057 => GAUSSIAN = 1.0
    LIMITS = (-4.0, 4.0) => LIMITS = (-8.0, 8.0)
    * truth.conj() / truth.abs() => * image.conj() / image.abs()
    return known.sd * torch.exp => return torch.exp
    / (len(errors) * weight.sum()) => / weight.sum()
    image.conj() * truth * weight).sum() => image.conj() * truth).sum()
ptychodose/refine/spread_training.py | constants spread
    WHOLE = 0.5 => WHOLE = 1.0
    found = self.start + share * self.move => found = self.start + self.move
    net.load_state_dict(fit.weights) => pass
ptychodose/refine/procedural_probes.py | procedural_probes
    NARROWEST, WIDEST = 0.12, 0.62 => NARROWEST, WIDEST = 0.02, 0.62
    NARROWEST, WIDEST = 0.12, 0.62 => NARROWEST, WIDEST = 0.12, 0.95
    rim < CUT and => 
    kinds = (_zone_plate, _zone_plate, _aberrated, _hard_edged) => kinds = (_zone_plate, _zone_plate, _aberrated)
    (probe / np.sqrt(energy.sum())) => probe
ptychodose/score/coverage.py | spread
    LEVELS = (68, 95) => LEVELS = (68, 90)
    error[aligned.region] * abs(aligned.factor) => error[aligned.region]
    ndtri(0.5 + level / 200) => ndtri(level / 100)
    np.stack([bars.real, bars.imag]) => np.stack([bars.imag, bars.real])
    error[aligned.region] => error[: aligned.image.shape[0], : aligned.image.shape[1]]
ptychodose/refine/hybrid_bundle.py | hybrid_bundle
    or sha256_file(Path(path)) != sha256 => 
ptychodose/score/align.py | alignment
    MAX_SHIFT = 4  # => MAX_SHIFT = 1  #
    MAX_SHIFT = 4  # => MAX_SHIFT = 40  #
    return new if lost < kept - GAIN else old => return new
    pose = _better(pair, pose, _ramped(pair, pose)) => pose = pose
    if varied else pose => if True else pose
    np.pad(obj, MARGIN, mode="reflect")[y, x] * => np.pad(obj[region], MARGIN, mode="reflect") *
    kept = max(reach // 3, MAX_SHIFT) => kept = reach // 3
    _covered(pair, pose[:2])) => region)
    return start + unit * => return start + 0 * unit *
ptychodose/score/align.py | meaning
    (spectrum > (1 - GAIN) * spectrum.max()).argmax() => spectrum.argmax()
ptychodose/score/align.py | constants
    GAIN = 1e-9 => GAIN = 1e-6
    MARGIN = 24  # => MARGIN = 8  #
    FIRST_STEP = 0.1 => FIRST_STEP = 1.0
ptychodose/score/frc.py | constants metrics
    FIRST_RING = 2 => FIRST_RING = 1
    TAPER = 0.3 => TAPER = 0.2
    "0.5": 0.5, => "0.5": 0.3,
    0.5,\n        "half_bit": bit_threshold(curve.pixels, 0.2 => 0.5,\n        "half_bit": bit_threshold(curve.pixels, 1
    7,\n        "half_bit": bit_threshold(curve.pixels, 0.2 => 7,\n        "half_bit": bit_threshold(curve.pixels, 1
    snr + (2 * np.sqrt(snr) + 1) * root => snr + 2 * np.sqrt(snr) * root
    "1/7": 1 / 7, => "1/7": 1 / 5,
    * float((window**2).mean()) => 
    np.rint(radius * scale) => np.floor(radius * scale)
    pixel_m * 1e9 / frequency => pixel_m * 1e9 / 2 / frequency
    [FIRST_RING:]).mean() => ).mean()
ptychodose/score/metrics.py | metrics
    np.ptp(truth)) => np.ptp(image))
    offset = _mean_phase(difference[full]) => offset = np.angle(difference[full]).mean()
    difference = _unit(np.where(full, image, 1.0)) => difference = np.where(full, image, 1.0)
    1e-20 * span**2 => 1e-30 * span**2
    difference * np.exp(-1j * offset), np.exp(-1j * phase)) => difference * np.exp(-1j * offset), 1.0)
    np.maximum(rate, 1e-12) => np.maximum(rate, 1e-2)
    return float(2 * (lam - k => return float((lam - k
ptychodose/score/metrics.py | meaning
    * np.exp(-1j * (_mean_phase(_unit(truth)) + CUT)) => * np.exp(-1j * CUT)
    CUT = 1e-6 => CUT = 0.0
    else factors.flat[0] => else 1.0
    CONTRAST = 1e-5 => CONTRAST = 1e-8
    CONTRAST = 1e-5 => CONTRAST = 1e-2
    span < CONTRAST * unit => span < 0
    < 0, -np.abs(local), local) => < 0, local, local)
    WINDOW = 7 => WINDOW = 5
ptychodose/score/region.py | metrics
    np.concatenate(list(used)) => np.empty(0, int)
    low = np.max([ => low = np.min([
    high = np.min([ => high = np.max([
    margin = scan.diameter / 2 => margin = 0
    (obj, index[part])[:, scan.mask], scan.read(index[part])[:, scan.mask] => (obj, index[part]), scan.read(index[part])
    * len(rate)) => )
ptychodose/score/scoring.py | metrics
    best["frc"]["0.5"]["first"] => best["frc"]["0.5"]["last"]
ptychodose/score/scoring.py | meaning
    if not size > 1e-100 => if size < 0
    metrics.phase_of(target)) => np.angle(target))
ptychodose/score/words.py | answer
    is None else => is not None else
ptychodose/bounds/fisher.py | fisher limits
    weight = mask / np.maximum( => weight = 1 / np.maximum(
    .sum(0) + background => .sum(0)
    return (ssnr / 2) / (1 + ssnr / 2) => return ssnr / (1 + ssnr)
ptychodose/bounds/limits.py | constants limits
    KNOWN = 0.01 => KNOWN = 0.1
    DIM = 1e-3 => DIM = 1e-1
    WHITE = 1e-8 => WHITE = 1e-3
    index[part]) - scan.background)[:, scan.mask] => index[part]))[:, scan.mask]
ptychodose/bounds/lines.py | limits
    -1]:\n        return None\n    return float( => -1]:\n        pass\n    return float(
    -1]:\n        return None\n    logs => -1]:\n        pass\n    logs
ptychodose/compare/answer.py | answer
    lost = arm != "flat" and row["nrmse"] >= => lost = row["nrmse"] >=
    row["nrmse"] >= headline["flat"]["nrmse"] => row["nrmse"] > headline["flat"]["nrmse"]
    row["nrmse"] >= headline["flat"]["nrmse"] => row["nrmse"] <= headline["flat"]["nrmse"]
    for kind in ("bayes", "crb") => for kind in ("crb", "bayes")
    ["nrmse"] / headline["baseline"]["nrmse"] => ["nrmse"] * headline["baseline"]["nrmse"]
    _text(at_dose(ratio, dose, "dense_over_baseline"), 2) => _text(measured, 2)
    {row['frc50']:21.2f} => {row['nrmse']:21.2f}
ptychodose/formats/bundle.py | bundle
    if sha256 is not None and sha256_file(path) != sha256: => if sha256 is not None and not sha256_file(path):
    is_whole(meta.get("schema"), SCHEMA, SCHEMA) => True
ptychodose/study/manifest.py | manifest
    if sha256_file(Path(name)) != recorded[name]: => if not sha256_file(Path(name)):
    if name not in recorded: => if name is None:
    | {name for name in recorded if Path(name).is_relative_to(path)} => 
ptychodose/reconstruct/reconstructors.py | reconstructors
    improve(replace(start, obj=start.obj.copy()), => improve(start,
    if start.weight is not None: => if start.weight is None:
    blend=blend, start_error=found.start_error => start_error=found.start_error
ptychodose/reconstruct/arms.py | arms reconstructors
    error = found[other].start_error => error = found[other].error
    if error is None and isinstance( => if isinstance(
    "view", "group_size", "share", "weight", "blend")} => "view", "group_size", "share")}
    f"hybrid_{case}") => "hybrid")
    trial.thinned(share, params.seed_of("noise")), "dense", share => trial.of("dense"), "dense", share
    found = {"map": solved[f"map_{case}"]} => found = {"map": solved["map"]}
    few = trial.thinned(share, params.seed_of("noise")) => few = trial.of("dense")
    noise.stream(params.seed, "solver", name) => noise.stream(params.seed, "solver")
reconstruct_map.py | stage_scripts
    frc.ring_correlation(*objects) => frc.ring_correlation(objects[0], objects[0])
    noise.stream(study.seed, "solver", STREAMS[name]) for => noise.stream(study.seed, "solver") for
    .split(0.5, rng) => .split(0.9, rng)
    cases["map_thinned"] = trial.thinned(share, study.seed_of("noise")) => cases["map_thinned"] = trial.of("dense")
reconstruct.py | stage_scripts
    write_stage_manifest("reconstruct", => write_stage_manifest("compare",
overlap.py | stage_scripts
    if split == "train" else (None, ARMS) => if split == "test" else (None, ARMS)
    | {4}  # groups => | {9}  # groups
    "overlap",\n        inputs => "views",\n        inputs
generate.py | stage_scripts
    f"noise/{split}" => "noise/train"
    "generate",\n        inputs => "simulate",\n        inputs
compare.py | stage_scripts
    predict.by_object(truth) => predict.by_object(np.ones_like(truth))
    "reconstruct_map", "reconstruct", "limit"], "compare" => "reconstruct_map", "reconstruct"], "compare"
    used = [view.index for view in trial.views.values()] => used = [next(iter(trial.views.values())).index]
"""


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in a file under src/; `tests` are the files expected to notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} => {self.new!r}"


def mutations() -> list[Mutation]:
    """The table, read."""
    made, file, tests = [], "", ()
    for line in MUTATIONS.strip().splitlines():
        if line.startswith("    "):
            old, new = (part.replace("\\n", "\n") for part in line[4:].split(" =>", 1))
            made.append(Mutation(file, old, new.removeprefix(" "), tests))
        else:
            file, names = line.split(" | ")
            tests = tuple(f"tests/test_{name}.py" for name in names.split())
    return made


def copy_tree(folder: Path) -> None:
    """What git tracks or would, and the environment."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")


def passes(folder: Path, tests: tuple[str, ...]) -> bool:
    """Whether the fast tests pass in a copy: in a process of their own, which finds the large libraries loaded."""
    child = multiprocessing.get_context("fork").Process(target=_test, args=(folder, tests))
    child.start()
    child.join()
    if child.exitcode not in (0, 1, 2):  # 1: a test failed, 2: the mutated file cannot even be imported
        raise SystemExit(f"pytest ended with {child.exitcode}; run it by hand on {' '.join(tests)}")
    return child.exitcode == 0


def _test(folder: Path, tests: tuple[str, ...]) -> None:
    os.chdir(folder)
    options = ["-x", "-q", "-m", "not slow and not soak", "-p", "no:cacheprovider"]
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        code = pytest.main([*options, *(name for name in tests if (folder / name).is_file())])
    os._exit(code)


def survives(folder: Path, mutation: Mutation) -> bool:
    """Whether no test notices; the file is restored."""
    path = folder / "src" / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation}: occurs {text.count(mutation.old)} times, not once; repair the table")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return passes(folder, mutation.tests)
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Run all, or those whose line holds the words after --only; the exit status is 1 when one survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORDS", help="only mutations whose line holds these words")
    wanted = parser.parse_args().only
    chosen = [mutation for mutation in mutations() if wanted in str(mutation)]
    survivors = []
    sys.dont_write_bytecode = True  # a mutated file may be as old and as long as the one it replaces
    for library in LARGE:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        tests = tuple(sorted({test for mutation in chosen for test in mutation.tests}))
        if not passes(folder, tests):
            raise SystemExit("the tests fail without any mutation; repair them first")
        for mutation in chosen:
            alive = survives(folder, mutation)
            survivors += [mutation] * alive
            print("SURVIVED" if alive else "KILLED  ", mutation, flush=True)
    print(f"{len(chosen)} mutations, {len(survivors)} survived", *survivors, sep="\n  ")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
