"""What the samples of an image mean: bit depth, grey, transparency and orientation, as 8-bit RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WHITE = 255


class PixelError(ValueError):
    """An image holds something that has no defined meaning here; the message is a clause without a subject's name."""


def to_8bit(samples: NDArray[np.unsignedinteger], bits: int) -> NDArray[np.uint8]:
    """Scale samples by their bit depth, never by what an image happens to hold.

    Parameters
    ----------
    samples : ndarray of unsigned integers or bool, any shape
        Values from 0 to ``2**bits - 1``.
    bits : int
        Bits per sample, 1 to 16.

    Returns
    -------
    ndarray of uint8, same shape
        ``value * 255 / (2**bits - 1)``, rounded.
    """
    if samples.dtype == np.uint8 and bits == 8:
        return samples
    top = (1 << bits) - 1
    scaled: NDArray[np.uint32] = (samples.astype(np.uint32) * 255 + top // 2) // top
    return scaled.astype(np.uint8)


def to_rgb(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn grey, grey and alpha, RGB or RGBA into RGB.

    Grey is replicated. A transparent pixel is laid over white, the background of a bright-field slide.

    Parameters
    ----------
    samples : ndarray of uint8, shape (h, w) or (h, w, c) with c from 1 to 4

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
    """
    samples = samples.reshape(*samples.shape[:2], -1)
    channels = samples.shape[2]
    if channels > 4:
        raise PixelError(f"it has {channels} channels, not grey, RGB or either with transparency")
    colour = samples[..., :3] if channels >= 3 else np.repeat(samples[..., :1], 3, axis=2)
    return colour if channels in (1, 3) else _over_white(colour, samples[..., -1:])


def orient(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn an image upright.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w, 3)
    orientation : int
        The orientation tag of EXIF and TIFF, 1 to 8; any other value counts as 1, upright.
    """
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _over_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    weight = alpha.astype(np.uint32)
    mixed = colour * weight + WHITE * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)
