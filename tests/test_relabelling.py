"""Labels under a relabelling: of whole patients, or of the cells within each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from msbatch.plan import Relabelling
from msbatch.relabelling import permute_cells, relabelled

labels = st.lists(st.integers(0, 1), min_size=1, max_size=40).map(lambda own: np.array(own, np.uint8))


@given(labels, st.integers(0, 2**32 - 1), st.text())
def test_cells_keep_their_counts_and_the_same_seed_gives_the_same_order(own: np.ndarray, seed: int, name: str) -> None:
    relabelling = Relabelling(number=1, labels={}, seed=seed, folds=())
    again = relabelled(relabelling, name, own)
    assert sorted(again) == sorted(own)
    assert again.tolist() == permute_cells(own, seed, name).tolist()


def test_the_order_of_cells_never_changes_from_one_version_to_the_next() -> None:
    assert permute_cells(np.arange(8, dtype=np.uint8), 7, "P01").tolist() == [2, 3, 0, 6, 4, 1, 5, 7]


def test_patients_are_permuted_apart() -> None:
    own = np.arange(50, dtype=np.uint8)
    assert permute_cells(own, 7, "P01").tolist() != permute_cells(own, 7, "P02").tolist()
    assert permute_cells(own, 7, "P01").tolist() != permute_cells(own, 8, "P01").tolist()


def test_a_relabelled_patient_has_one_class_in_all_cells() -> None:
    relabelling = Relabelling(number=1, labels={"A": 1, "B": 0}, seed=None, folds=())
    own = np.zeros(3, np.uint8)
    assert relabelled(relabelling, "A", own).tolist() == [1, 1, 1]
    assert relabelled(relabelling, "B", own).tolist() == [0, 0, 0]
    assert own.tolist() == [0, 0, 0]
