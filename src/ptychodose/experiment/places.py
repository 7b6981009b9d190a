"""Positions as places of the probe in its windows: ramps that move it, slopes along moves, what counts tell of them."""

import math

import torch
from torch import Tensor

from ptychodose.physics import forward
from ptychodose.physics.forward import FLOOR


def ramps(places: Tensor, size: int) -> Tensor:
    """Phase ramps (n, 1, N, N) that move a spectrum to places (n,) complex, y + i x px (see forward.shift_probe)."""
    frequency = -2 * math.pi * torch.fft.fftfreq(size, dtype=torch.float64)
    y, x = (along[:, None].double() * frequency for along in (places.real, places.imag))
    column, row = (torch.polar(torch.ones_like(angle), angle).to(places.dtype) for angle in (y, x))
    return column[:, None, :, None] * row[:, None, None, :]


def ways(spectrum: Tensor) -> Tensor:
    """What the spectra (..., N, N) of a probe change by, / (-i), where it moves along y and along x: (2, ..., N, N)."""
    frequency = 2 * math.pi * torch.fft.fftfreq(spectrum.shape[-1])
    return torch.stack([spectrum * frequency[:, None], spectrum * frequency])


def moving(told: Tensor, spectrum: Tensor) -> Tensor:
    """Gradient (n,) along places, half of d/dy + i d/dx, from that with respect to the conjugate spectrum of every
    pattern (n, M, N, N) whose spectrum (M, N, N) moves."""
    change = -(told.flatten(1) @ ways(spectrum).flatten(1).mH).imag  # (n, 2): Re(conj(told) (-i) way)
    return torch.complex(change[:, 0], change[:, 1])


def information(turned: Tensor, patches: Tensor, background: Tensor, mask: Tensor | None) -> Tensor:
    """Fisher information (n,) of the places of patterns, px^-2, of a move along y + i of one along x: sum (d rate)^2 /
    rate over the good pixels, all else known.

    turned (n, M, N, N) spectra of the probe at its places, patches (n, N, N) of the object, background (N, N) and mask
    in the corner layout.
    """
    waves = forward.propagate(forward.back_propagate(turned) * patches[:, None])
    weight = 1 / (forward.measure(waves).sum(1) + background + FLOOR)
    told = []
    for way in ways(turned):
        moved = forward.propagate(forward.back_propagate(way) * patches[:, None])  # d waves = -i moved
        change = 2 * (waves.conj() * moved).imag.sum(1)
        each = change.square_().mul_(weight if mask is None else weight * mask)
        told.append(each.sum((-2, -1)))
    return torch.complex(*told)


def stiffest(spectrum: Tensor) -> float:
    """The Fisher information of a place, px^-2, were the phases of a spectrum (M, N, N) and of what a move changes it
    by independent: 2 sum (2 pi f)^2 |spectrum|^2. A move mostly turns phases, which no count tells: the study's object
    gives the thirtieth part."""
    return float(forward.measure(ways(spectrum)).sum())  # the mean of two axes


def projected(places: Tensor, together: Tensor) -> Tensor:
    """The part of moves (n,) complex that lies in the span of orthonormal moves (2n, k): y of all, then x of all."""
    moves = torch.cat([places.real, places.imag])
    y, x = (together @ (together.T @ moves)).chunk(2)
    return torch.complex(y, x)


def affine(positions: Tensor) -> Tensor:
    """Orthonormal moves (2n, 4) of a scan at positions (n, 2) px whose scale, rotation and shear are wrong about its
    middle: y and x each may be off by any multiple of y and x."""
    around = positions - positions.mean(0)
    nothing = torch.zeros_like(around)
    moves = torch.cat([torch.cat([around, nothing], 1), torch.cat([nothing, around], 1)])  # (2n, 4)
    return torch.linalg.qr(moves.double())[0].float()
