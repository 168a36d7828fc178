"""The labels of cells under a relabelling of the plan; the true ones stay as they are in the store."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from msbatch.plan import Relabelling

Labels = NDArray[np.uint8]


def relabelled(relabelling: Relabelling, patient: str, labels: Labels) -> Labels:
    """Give the labels of a patient's cells under a relabelling.

    Parameters
    ----------
    relabelling : Relabelling
        Of the plan.
    patient : str
        Whose cells they are.
    labels : ndarray of uint8, shape (n,)
        The true ones, in the order of the store.

    Returns
    -------
    ndarray of uint8, shape (n,)
    """
    if relabelling.seed is None:
        return np.full_like(labels, relabelling.labels[patient])
    return permute_cells(labels, relabelling.seed, patient)


def permute_cells(labels: Labels, seed: int, patient: str) -> Labels:
    """Permute labels among the cells of a patient; which way follows from the seed and the identifier alone."""
    # A hash, since what a generator of numpy draws may change from one version to the next.
    lots = hashlib.shake_256(f"{seed}/{patient}".encode()).digest(8 * len(labels))
    return labels[np.argsort(np.frombuffer(lots, "<u8"), kind="stable")]
