"""All that is solved for, as one vector: object, probe modes, positions, background."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

KNOTS = 4  # a side: the background is bilinear between so many values, what scatters being smooth
SURPASS = 1.25  # a smooth background's root, in units of that of the darkest pixels around: half as much again at most
LOWEST = 10  # per cent of a cell's pixels that see hardly any signal: where a background is read off at first


@dataclass(frozen=True)
class Unknowns:
    """obj (H, W) complex64 on the canvas; probe (M, N, N) complex64, of any energy, which the scan's photons set;
    places (n,) complex64, patch centres y + i x px from their windows' centres; root (K, K) float32, which makes the
    background's counts at its knots, root^2 / (1 + root^2 / most): neither below zero nor above `most` (K, K). Every
    pixel is a knot (K = N) of a background that is free."""

    obj: Tensor
    probe: Tensor
    places: Tensor
    root: Tensor
    most: Tensor

    def vector(self) -> Tensor:
        """All of it in one (d,) complex64."""
        parts = (self.obj, self.probe, self.places, self.root.to(torch.complex64))
        return torch.cat([part.flatten() for part in parts])

    def of(self, vector: Tensor) -> "Unknowns":
        """What a vector (d,) of this shape holds."""
        shapes = [part.shape for part in (self.obj, self.probe, self.places, self.root)]
        parts = torch.split(vector, [shape.numel() for shape in shapes])
        obj, probe, places, root = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        return Unknowns(obj, probe, places, root.real, self.most)

    def background(self) -> Tensor:
        """Expected counts (N, N) per pixel and pattern, corner layout."""
        inside, square = knots(self.probe.shape[-1], len(self.root)), self.root.square()
        return inside @ (square / (1 + square / self.most)) @ inside.T

    @property
    def rise(self) -> Tensor:
        """What the counts at the knots rise by with their root, halved: (K, K)."""
        return self.root / (1 + self.root.square() / self.most).square()


def knots(size: int, number: int = KNOTS) -> Tensor:
    """Linear interpolation from K = `number` knots to N = `size` pixels in the corner layout, constant beyond the outer
    knots: (N, K) float32."""
    at = np.clip((np.arange(size) + 0.5) / size * number - 0.5, 0, number - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(number)))
    return torch.as_tensor(np.fft.ifftshift(weights, 0).astype(np.float32))


def smooth_root(dark: NDArray[np.float64], patterns: int) -> tuple[Tensor, Tensor]:
    """Root and most (K, K) of a smooth background that starts at the counts `dark` (K, K) of the darkest pixels: more
    than `SURPASS` times their root, and three standard deviations of it, is what the model misses and no background.
    The root of a count has a standard deviation of a half; 3 x 3 pixels of all patterns are counted."""
    return _roots(dark, (SURPASS * np.sqrt(dark) + _slack(9 * patterns)) ** 2)


def free_root(dark: NDArray[np.float64], mean: NDArray[np.float64], patterns: int) -> tuple[Tensor, Tensor]:
    """Root and most (N, N) of a background with a value for every pixel, which starts smooth, at `dark` (K, K), and is
    nowhere more than the mean counts (N, N) of its pixel and three standard deviations of their root."""
    inside = knots(len(mean)).double().numpy()
    start = np.fft.fftshift(inside @ dark @ inside.T)
    return _roots(start, (np.sqrt(np.maximum(mean, 0)) + _slack(patterns)) ** 2)


def _slack(counted: int) -> float:
    """Three standard deviations of the root of a mean over so many counts."""
    return 3 * 0.5 / counted**0.5


def _roots(dark: NDArray[np.float64], most: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    start = np.clip(dark, 0.01 * most, most / SURPASS**2)  # at either end the slope would be zero
    root = np.sqrt(start / (1 - start / most))
    return torch.as_tensor(root.astype(np.float32)), torch.as_tensor(most.astype(np.float32))


def darkest(mean: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Counts (K, K) of the darkest pixels around every knot: a background's first guess.

    mean (N, N) counts per pattern, averaged over 3 x 3 good pixels before the lowest tenth of each cell is read off;
    cells full of signal are given what half of all have.
    """
    size = len(mean)
    smooth = filled(mean, mask, 3)
    edges = np.linspace(0, size, KNOTS + 1).astype(int)
    rows = [smooth[a:b] for a, b in itertools.pairwise(edges)]
    cells = [[np.percentile(row[:, a:b], LOWEST) for a, b in itertools.pairwise(edges)] for row in rows]
    return np.minimum(cells, np.median(cells))


def filled(image: NDArray[np.float64], mask: NDArray[np.bool_], width: int) -> NDArray[np.float64]:
    """Mean of the good pixels in `width` x `width` (N, N); 0 where there are none."""
    share = ndimage.uniform_filter(mask.astype(float), width, mode="nearest")
    return ndimage.uniform_filter(image * mask, width, mode="nearest") / np.maximum(share, 1 / width**2 / 2)
