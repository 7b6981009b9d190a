"""The forward model in torch: interaction, far-field propagation, measurement, likelihood.

Conventions, stated once for the whole project:

* Axis order is (y, x). A position is the centre of a patch in object pixels. With
  `corner = round(position) - N // 2`, the patch is `obj[corner_y : corner_y + N, corner_x : corner_x + N]`,
  so the pixel (N // 2, N // 2) of the patch lies at the rounded position. The remaining sub-pixel part
  `position - round(position)` moves the probe (exactly, in Fourier space); the object stays on its grid.
* The propagator is the orthonormal two-dimensional FFT with negative exponent. Its zero frequency is in the
  corner [0, 0] ("corner layout"). Files and users see zero frequency at (N // 2, N // 2) ("centred layout");
  `to_corner` converts counts once, when they enter memory. A real-space offset of the transform's origin
  multiplies the far field by a phase and leaves every count unchanged, so none is applied.
* The probe carries the photons: sum |probe|^2 = photons incident per pattern. Its M modes are mutually incoherent,
  so their intensities add, and so does a background: expected counts = sum_m |FFT2(probe_m * patch)|^2 + background.
  Detector pixels outside the mask tell nothing: they leave every likelihood and gradient.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

FLOOR = 0.05  # photons added to rate and counts: keeps log and division finite where nothing arrives
LIT = 0.02  # preconditioner floor, fraction of the brightest pixel: unlit pixels are not amplified
DARK = 1e-3  # share of the brightest pixel's light below which a pixel of the object keeps what it was


@dataclass(frozen=True)
class Patterns:
    """What a detector saw of B canvases (H, W) in C patterns each, and what is known of how.

    corners (B, C, 2) int64 px on the canvas; probes (B, C, M, N, N) complex64, root photons, shifted; counts
    (B, C, N, N) float32 photons, `background` expected counts (broadcast to it), mask (N, N) float32, 1 = good, None
    when all are: corner layout; shape (H, W); level (B, 1, 1) amplitude of the flat object that the counts imply;
    efficiency (B, 1, 1) share of the photons' information that background and mask leave; rim px of a patch's border
    that hardly any light falls on (see probes.dark_rim). What every gradient needs of them is computed once.
    """

    corners: Tensor
    probes: Tensor
    counts: Tensor
    background: Tensor
    mask: Tensor | None
    shape: tuple[int, int]
    level: Tensor
    efficiency: Tensor
    rim: int = 0

    @cached_property
    def index(self) -> Tensor:
        """Flat indices (B, C * N * N) int64 of all patches in their canvas."""
        return window_index(self.corners, self.probes.shape[-1], self.shape[1]).flatten(1)

    @cached_property
    def conjugates(self) -> Tensor:
        """conj(probes) (B, C, M, N, N), in memory."""
        return self.probes.conj().resolve_conj()

    @cached_property
    def floored(self) -> tuple[Tensor, Tensor]:
        """k + e (B, C, N, N) and b + e (broadcast to it) of counts k, background b and FLOOR e."""
        return self.counts + FLOOR, self.background + FLOOR

    @property
    def lit(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas without the dark rim around it."""
        height, width = self.shape
        return slice(self.rim, height - self.rim), slice(self.rim, width - self.rim)

    def part(self, block: slice) -> "Patterns":
        """The patterns `block` of every canvas; their background is one for all."""
        return replace(self, corners=self.corners[:, block], probes=self.probes[:, block], counts=self.counts[:, block])

    def with_probes(self, probes: Tensor) -> "Patterns":
        """The same under other shifted probes (B, C, M, N, N)."""
        return replace(self, probes=probes)

    def to(self, device: str) -> "Patterns":
        """The same on another torch device."""
        held: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        moved: dict[str, Any] = {k: value.to(device) for k, value in held.items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    def flat(self) -> Tensor:
        """The featureless canvases (B, H, W) complex64 that transmit the mean counts."""
        return self.level.to(torch.complex64).expand(len(self.corners), *self.shape).contiguous()


def to_corner(centred: Tensor) -> Tensor:
    """Move zero frequency from (N // 2, N // 2) to [0, 0] on the last two axes of `centred` (..., N, N)."""
    return torch.fft.ifftshift(centred, dim=(-2, -1))


def split_positions(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Split patch centres into integer window corners and sub-pixel remainders.

    positions (..., 2) float64, y then x, object pixels; `size` = N, pixels.
    Returns corners (..., 2) int64 and remainders (..., 2) float64 in [-0.5, 0.5].
    """
    rounded = torch.round(positions)
    return rounded.to(torch.int64) - size // 2, positions - rounded


def shift_probe(probe: Tensor, offset: Tensor) -> Tensor:
    """Shift the probe by a sub-pixel offset with the Fourier shift theorem (exact for a band-limited probe).

    probe (N, N) or (..., N, N) complex; offset (..., 2) pixels, y then x. Returns (..., N, N): out(r) =
    probe(r - offset).
    """
    size = probe.shape[-1]
    freq = torch.fft.fftfreq(size, dtype=torch.float64, device=probe.device)
    angle = (
        -2 * torch.pi * (offset[..., 0, None, None] * freq[:, None] + offset[..., 1, None, None] * freq[None, :])
    )  # (..., N, N) radians
    ramp = torch.polar(torch.ones_like(angle), angle).to(probe.dtype)
    return torch.fft.ifft2(torch.fft.fft2(probe) * ramp)


def window_index(corners: Tensor, size: int, width: int) -> Tensor:
    """Flat indices of windows in a row-major canvas.

    corners (..., 2) int64; `size` = N; `width` = canvas columns. Returns (..., N * N) int64.
    """
    along = torch.arange(size, device=corners.device)
    rows = corners[..., 0, None, None] + along[:, None]
    cols = corners[..., 1, None, None] + along[None, :]
    return (rows * width + cols).flatten(-2)  # (..., N, N) -> (..., N * N)


def extract(canvas: Tensor, corners: Tensor, size: int, index: Tensor | None = None) -> Tensor:
    """Cut patches out of canvases: canvas (B, H, W), corners (B, C, 2) -> patches (B, C, N, N). `index` spares the
    computation of Patterns.index."""
    if index is None:
        index = window_index(corners, size, canvas.shape[-1]).flatten(1)  # (B, C * N * N)
    return torch.gather(canvas.flatten(1), 1, index).reshape(*corners.shape[:2], size, size)


def scatter_add(patches: Tensor, corners: Tensor, shape: tuple[int, int], index: Tensor | None = None) -> Tensor:
    """Adjoint of `extract`: add patches (B, C, N, N) into zero canvases (B, H, W) at corners (B, C, 2)."""
    if index is None:
        index = window_index(corners, patches.shape[-1], shape[1]).flatten(1)  # (B, C * N * N)
    canvas = patches.new_zeros(len(patches), shape[0] * shape[1])
    return canvas.scatter_add_(1, index, patches.flatten(1)).reshape(-1, *shape)


def interaction(probes: Tensor, patches: Tensor) -> Tensor:
    """Exit waves psi = P * O of the thin-object approximation; both (..., N, N) complex, photon units."""
    return probes * patches


def propagate(exit_waves: Tensor) -> Tensor:
    """Far field of exit waves (..., N, N): orthonormal FFT2, zero frequency in the corner (see module text)."""
    return torch.fft.fft2(exit_waves, norm="ortho")


def back_propagate(waves: Tensor) -> Tensor:
    """Adjoint (= inverse) of `propagate`."""
    return torch.fft.ifft2(waves, norm="ortho")


def measure(waves: Tensor) -> Tensor:
    """Expected counts of far-field waves: re^2 + im^2, photons per detector pixel, corner layout."""
    squares = torch.view_as_real(waves).square()  # the parts are squared where they lie together: half the time
    return squares[..., 0] + squares[..., 1]


def far_field(canvas: Tensor, patterns: Patterns) -> Tensor:
    """Waves (B, C, M, N, N) at the detector behind canvases (B, H, W) of the patterns' shape, corner layout."""
    if canvas.shape[1:] != patterns.shape:
        raise ValueError(f"canvases {tuple(canvas.shape[1:])} for patterns on {patterns.shape}")
    patches = extract(canvas, patterns.corners, patterns.probes.shape[-1], patterns.index)
    return propagate(interaction(patterns.probes, patches[:, :, None]))  # (B, C, 1, N, N)


def over_modes(values: Tensor) -> Tensor:
    """Sum over the modes: (B, C, M, N, N) -> (B, C, N, N); no pass over memory for a single one."""
    return values[:, :, 0] if values.shape[2] == 1 else values.sum(2)


def expected(canvas: Tensor, patterns: Patterns) -> Tensor:
    """Expected counts (B, C, N, N) of object canvases (B, H, W): sum over the modes, plus the background."""
    return over_modes(measure(far_field(canvas, patterns))) + patterns.background


def poisson_nll(rate: Tensor, counts: Tensor, floor: float = FLOOR) -> Tensor:
    """Poisson negative log-likelihood per element, without the constant log k! and zero at a perfect fit.

    l = (lam + e) - (k + e) - (k + e) log((lam + e) / (k + e)), half the Poisson deviance
    (McCullagh & Nelder, Generalized Linear Models, section 2.3). The floor e (photons) is added to the rate AND
    to the counts, so the minimum stays at lam = k; `floor` > 0.
    """
    lam, k = rate + floor, counts + floor
    return lam - k - k * torch.log(lam / k)


def losses(canvas: Tensor, patterns: Patterns) -> Tensor:
    """Mean `poisson_nll` per good detector pixel of every pattern: (B, C), float64."""
    each = poisson_nll(expected(canvas, patterns), patterns.counts)
    if patterns.mask is None:
        return each.mean((-2, -1), dtype=torch.float64)
    return (each * patterns.mask).sum((-2, -1), dtype=torch.float64) / patterns.mask.sum()


def residual_waves(canvas: Tensor, patterns: Patterns) -> Tensor:
    """F^H[(1 - (k + e) / (lam + e)) F(P O)] (B, C, M, N, N): the gradient of the loss with respect to the exit waves'
    conjugate; masked pixels do not take part. No graph, in place: nothing here needs more memory than the waves."""
    return _residual(canvas, patterns)[0]


@torch.no_grad()
def _residual(canvas: Tensor, patterns: Patterns) -> tuple[Tensor, Tensor, Tensor]:
    """`residual_waves`, the floored rate lam + e, and (k + e) / (lam + e), (B, C, N, N) both."""
    waves, (counts, background) = far_field(canvas, patterns), patterns.floored
    rate = over_modes(measure(waves)).add_(background)
    told = counts / rate
    ratio = 1 - told
    if patterns.mask is not None:
        ratio *= patterns.mask
    return back_propagate(waves.mul_(ratio[:, :, None])), rate, told


def gradient(canvas: Tensor, patterns: Patterns) -> Tensor:
    """Exact gradient of sum poisson_nll with respect to conj(object canvas): (B, H, W) complex.

    dL/dO* = sum_j S_j^T sum_m conj(P_jm) F^H[(1 - (k + e) / (lam + e)) F(P_jm S_j O)]
    (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004 (2012), with a floor e, modes and background). It is linear
    in the data ratio and needs no autograd graph.
    """
    return gathered(residual_waves(canvas, patterns), patterns)


@torch.no_grad()
def gathered(residual: Tensor, patterns: Patterns) -> Tensor:
    """sum_j S_j^T sum_m conj(P_jm) residual_jm: (B, H, W); the residual (B, C, M, N, N) is used up."""
    back = over_modes(residual.mul_(patterns.conjugates))
    return scatter_add(back, patterns.corners, patterns.shape, patterns.index)


def loss_and_gradient(canvas: Tensor, patterns: Patterns) -> tuple[Tensor, Tensor]:
    """Sum of `poisson_nll` over the good pixels of every canvas (B,) float64, and `gradient`, in one pass."""
    loss, residual, _ = loss_and_residual(canvas, patterns)
    return loss, gathered(residual, patterns)


@torch.no_grad()
def loss_and_residual(canvas: Tensor, patterns: Patterns) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of `poisson_nll` over the good pixels of every canvas (B,) float64, `residual_waves` (B, C, M, N, N), and the
    loss's slope along a background, 1 - (k + e) / (lam + e) (B, C, N, N), 0 where masked."""
    residual, rate, told = _residual(canvas, patterns)
    each = torch.log(told).sub_(1).mul_(told).add_(1).mul_(rate)  # lam - k + k log(k / lam), k = told * lam
    slope = told.neg_().add_(1)
    if patterns.mask is not None:
        each *= patterns.mask
        slope *= patterns.mask
    return each.sum((-3, -2, -1), dtype=torch.float64), residual, slope


def illumination(corners: Tensor, probes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Photons per object pixel sum_j sum_m |P_jm(r - r_j)|^2 as (B, H, W) real, for an empty (O = 1) object; corners
    (B, C, 2), probes (B, C, M, N, N)."""
    return scatter_add(over_modes(measure(probes)), corners, shape)
