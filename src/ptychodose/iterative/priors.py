"""Priors of a complex object on its grid: smoothed total variation of first and second differences.

All are sums of Charbonnier terms sqrt(|D O|^2 + s^2) - s (Charbonnier et al., IEEE TIP 6, 298 (1997)): quadratic for
differences below the smoothing s, so flat noise is averaged, linear above it, so edges survive. Amplitude and phase
are coupled through the complex difference. First differences alone build staircases on slopes; second differences
(Lysaker, Lundervold & Tai, IEEE TIP 12, 1579 (2003)) let slopes pass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ptychodose.physics import portable

# Weights of first and second differences. `mixed` had the lowest error of those tried at every dose.
WEIGHTS = {"tv": (1.0, 0.0), "hessian": (0.0, 1.0), "mixed": (0.5, 0.3)}


def difference(image: Tensor, axis: int) -> Tensor:
    """Forward difference of an image along `axis`; zero at the far edge."""
    inner, out = image.shape[axis] - 1, torch.zeros_like(image)
    out.narrow(axis, 0, inner).add_(image.narrow(axis, 1, inner)).sub_(image.narrow(axis, 0, inner))
    return out


def difference_adjoint(field: Tensor, axis: int) -> Tensor:
    """Adjoint of `difference`, same shape."""
    inner, out = field.shape[axis] - 1, torch.zeros_like(field)
    out.narrow(axis, 1, inner).add_(field.narrow(axis, 0, inner))
    out.narrow(axis, 0, inner).sub_(field.narrow(axis, 0, inner))
    return out


def _terms(planes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """First differences (y, x) and second differences (yy, xx, xy) of real and imaginary parts (H, W, 2)."""
    first = [difference(planes, 0), difference(planes, 1)]
    second = [difference_adjoint(first[0], 0), difference_adjoint(first[1], 1), difference(first[0], 1)]
    return first, second


def _norm(parts: list[Tensor], factors: tuple[float, ...], smoothing: float) -> Tensor:
    """sqrt(sum of factor * |part|^2 + s^2) per pixel (H, W, 1)."""
    squares = sum(f * (p * p) for f, p in zip(factors, parts, strict=True))
    assert isinstance(squares, Tensor)
    return portable.sqrt(squares.sum(-1, keepdim=True) + smoothing**2)


FIRST, SECOND = (1.0, 1.0), (1.0, 1.0, 2.0)  # the mixed difference stands twice in the Frobenius norm


def value(obj: Tensor, name: str, smoothing: float) -> Tensor:
    """The prior's energy of an object (H, W) complex: a scalar, 0 for a constant. `smoothing` in object units."""
    a, b = WEIGHTS[name]
    first, second = _terms(torch.view_as_real(obj))
    norms = _norm(first, FIRST, smoothing), _norm(second, SECOND, smoothing)
    return a * (norms[0] - smoothing).sum() + b * (norms[1] - smoothing).sum()


@dataclass(frozen=True)
class Bound:
    """The quadratic form <O, A O> that touches the prior at one object and lies above it everywhere else, up to a
    constant: each Charbonnier term with its weight 1 / (2 sqrt(|D O|^2 + s^2)) held (half-quadratic minimisation: Geman
    & Yang, IEEE TIP 4, 932 (1995)). first, second (H, W, 2): these weights, for real and imaginary part alike;
    `energy`: the prior's value at its object."""

    first: Tensor
    second: Tensor
    energy: float

    def __call__(self, obj: Tensor) -> Tensor:
        """A O for an object (H, W) complex; at the object of the bound it is the prior's gradient."""
        planes = torch.view_as_real(obj)
        (y, x), (yy, xx, xy) = _terms(planes)
        along_y = y.mul_(self.first) + difference(yy.mul_(self.second), 0)
        along_y += difference_adjoint(xy.mul_(self.second), 1).mul_(2)
        along_x = x.mul_(self.first) + difference(xx.mul_(self.second), 1)
        return torch.view_as_complex(difference_adjoint(along_y, 0) + difference_adjoint(along_x, 1))

    @property
    def diagonal(self) -> Tensor:
        """About A's diagonal (H, W): that of evenly weighted differences."""
        return (4 * self.first + 20 * self.second)[..., 0]


def bound(obj: Tensor, name: str, smoothing: float) -> Bound:
    """The prior's quadratic upper bound at an object (H, W) complex."""
    planes, (a, b) = torch.view_as_real(obj), WEIGHTS[name]
    first, second = _terms(planes)
    norms = _norm(first, FIRST, smoothing), _norm(second, SECOND, smoothing)
    energy = sum(f * (n - smoothing).sum(dtype=torch.float64) for f, n in zip((a, b), norms, strict=True))
    one, two = ((0.5 * f / n).expand_as(planes).contiguous() for f, n in zip((a, b), norms, strict=True))
    return Bound(one, two, float(energy))


def gradient(obj: Tensor, name: str, smoothing: float) -> Tensor:
    """Gradient of `value` with respect to conj(obj): (H, W) complex."""
    return bound(obj, name, smoothing)(obj)
