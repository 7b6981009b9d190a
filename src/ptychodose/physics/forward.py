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
* The probe carries the photons: sum |probe|^2 = photons incident per pattern; rate = |FFT2(probe * patch)|^2.
"""

import torch
from torch import Tensor


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


def extract(canvas: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut patches out of canvases: canvas (B, H, W), corners (B, C, 2) -> patches (B, C, N, N)."""
    batch, height, width = canvas.shape
    index = window_index(corners, size, width)  # (B, C, N * N)
    flat = canvas.reshape(batch, height * width)  # (B, H * W)
    return torch.gather(flat, 1, index.flatten(1)).reshape(*corners.shape[:2], size, size)


def scatter_add(patches: Tensor, corners: Tensor, shape: tuple[int, int]) -> Tensor:
    """Adjoint of `extract`: add patches (B, C, N, N) into zero canvases (B, H, W) at corners (B, C, 2)."""
    batch, size = patches.shape[0], patches.shape[-1]
    index = window_index(corners, size, shape[1]).flatten(1)  # (B, C * N * N)
    canvas = patches.new_zeros(batch, shape[0] * shape[1])
    return canvas.scatter_add(1, index, patches.reshape(batch, -1)).reshape(batch, *shape)


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
    return waves.real**2 + waves.imag**2


def rate(canvas: Tensor, corners: Tensor, probes: Tensor) -> Tensor:
    """Expected counts (B, C, N, N) of object canvases (B, H, W) under probes (B, C, N, N) at corners (B, C, 2)."""
    return measure(propagate(interaction(probes, extract(canvas, corners, probes.shape[-1]))))


def poisson_nll(expected: Tensor, counts: Tensor, floor: float) -> Tensor:
    """Poisson negative log-likelihood per element, without the constant log k! and zero at a perfect fit.

    l = (lam + e) - (k + e) - (k + e) log((lam + e) / (k + e)), half the Poisson deviance
    (McCullagh & Nelder, Generalized Linear Models, section 2.3). The floor e (photons) is added to the rate AND
    to the counts, so the minimum stays at lam = k; `floor` > 0.
    """
    lam, k = expected + floor, counts + floor
    return lam - k - k * torch.log(lam / k)


def likelihood_gradient(canvas: Tensor, corners: Tensor, probes: Tensor, counts: Tensor, floor: float) -> Tensor:
    """Exact gradient of sum poisson_nll with respect to conj(object canvas).

    dL/dO* = sum_j S_j^T conj(P_j) F^H[(1 - (k + e) / (lam + e)) F(P_j S_j O)]
    (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004 (2012), with a floor e). Shapes as in `rate`;
    returns (B, H, W) complex. It is linear in the data ratio and needs no autograd graph.
    """
    size = probes.shape[-1]
    waves = propagate(interaction(probes, extract(canvas, corners, size)))
    ratio = 1 - (counts + floor) / (measure(waves) + floor)
    back = probes.conj() * back_propagate(ratio * waves)
    return scatter_add(back, corners, (canvas.shape[-2], canvas.shape[-1]))


def illumination(corners: Tensor, probes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Photons per object pixel sum_j |P_j(r - r_j)|^2 as (B, H, W) real, for an empty (O = 1) object."""
    return scatter_add(measure(probes), corners, shape)
