"""Which cells training sees, in which order."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from msbatch.training.data import BalancedOrder, Cells, TrainingCells, shares_of, training_batches

COHORTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=6).filter(
    lambda sizes: any(negative for negative, _ in sizes) and any(positive for _, positive in sizes)
)


def cells_of(sizes: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients of a cohort where patient i has sizes[i] negative and positive cells."""
    labels = [label for pair in sizes for label, count in enumerate(pair) for _ in range(count)]
    patients = [patient for patient, pair in enumerate(sizes) for _ in range(sum(pair))]
    return np.array(labels, np.uint8), np.array(patients, np.int64)


@given(COHORTS, st.integers(0, 2**31))
def test_classes_and_patients_take_turns(sizes: list[tuple[int, int]], seed: int) -> None:
    labels, patients = cells_of(sizes)
    order = BalancedOrder(labels, patients, (seed,))
    holders = [sum(1 for pair in sizes if pair[label]) for label in (0, 1)]
    seen = [order[position] for position in range(2 * holders[0] * holders[1] * 3)]
    assert Counter(labels[seen].tolist()) == {0: len(seen) // 2, 1: len(seen) // 2}
    for label in (0, 1):
        turns = Counter(patients[[i for i in seen if labels[i] == label]].tolist())
        assert len(turns) == holders[label]
        assert len(set(turns.values())) == 1


@given(COHORTS, st.integers(0, 2**31))
def test_every_cell_comes_once_before_any_comes_twice(sizes: list[tuple[int, int]], seed: int) -> None:
    labels, patients = cells_of(sizes)
    order = BalancedOrder(labels, patients, (seed,))
    seen: Counter[int] = Counter()
    for position in range(400):
        seen[order[position]] += 1
        index = order[position]
        group = np.flatnonzero((labels == labels[index]) & (patients == patients[index]))
        counts = [seen[int(cell)] for cell in group]
        assert max(counts) - min(counts) <= 1
    assert set(seen) == set(range(len(labels)))


STRATA = st.lists(st.integers(0, 2), min_size=6, max_size=6)


@given(COHORTS, STRATA, st.integers(0, 2**31))
def test_strata_that_a_class_has_take_turns_within_it(sizes: list[tuple[int, int]], own: list[int], seed: int) -> None:
    labels, patients = cells_of(sizes)
    strata = np.array(own)[patients]
    order = BalancedOrder(labels, patients, (seed,), strata)
    seen = [order[position] for position in range(2 * 6 * 30)]  # 6 can be shared by 1, 2 or 3 strata
    for label in (0, 1):
        turns = Counter(strata[[i for i in seen if labels[i] == label]].tolist())
        assert sum(turns.values()) == len(seen) // 2
        assert set(turns) == set(strata[labels == label].tolist())
        assert len(set(turns.values())) == 1
        for stratum in turns:
            shares = Counter(patients[[i for i in seen if (labels[i], strata[i]) == (label, stratum)]].tolist())
            assert max(shares.values()) - min(shares.values()) <= 1
    assert set(seen) <= set(range(len(labels)))


@given(COHORTS, st.integers(0, 2**31))
def test_one_stratum_is_none(sizes: list[tuple[int, int]], seed: int) -> None:
    labels, patients = cells_of(sizes)
    plain, one = (
        BalancedOrder(labels, patients, (seed,)),
        BalancedOrder(labels, patients, (seed,), np.full(len(labels), 5)),
    )
    assert [plain[position] for position in range(60)] == [one[position] for position in range(60)]


def test_the_order_is_what_tasks_that_were_stopped_will_go_on_in() -> None:
    labels, patients = cells_of([(3, 0), (5, 2), (0, 4)])
    order = BalancedOrder(labels, patients, (1, 2))
    assert [order[position] for position in range(20)] == [
        2,
        8,
        7,
        11,
        1,
        9,
        4,
        13,
        3,
        8,
        0,
        10,
        6,
        9,
        0,
        12,
        1,
        13,
        5,
        8,
    ]


def test_a_position_does_not_depend_on_what_was_asked_before() -> None:
    labels, patients = cells_of([(3, 0), (5, 2), (0, 4)])
    forwards = BalancedOrder(labels, patients, (1, 2))
    backwards = BalancedOrder(labels, patients, (1, 2))
    wanted = [forwards[position] for position in range(100)]
    assert [backwards[position] for position in reversed(range(100))] == wanted[::-1]


def test_another_seed_gives_another_order() -> None:
    labels, patients = cells_of([(9, 0), (0, 9)])
    orders = [BalancedOrder(labels, patients, (seed,)) for seed in (0, 1)]
    first, second = ([order[position] for position in range(18)] for order in orders)
    assert first != second


def shares(world_size: int, workers: int) -> list[list[list[int]]]:
    """Give what each process gets in steps 2 to 5; the images carry their own index."""
    labels, patients = cells_of([(3, 0), (5, 2), (0, 4)])
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 2, 2, 3))
    order = BalancedOrder(labels, patients, (7,))
    dataset = TrainingCells(Cells(images.copy(), labels, patients), order, lambda image, _: image)
    return [
        [
            batch[:, 0, 0, 0].tolist()
            for batch, _ in training_batches(dataset, shares_of(range(2, 6), 4, rank, world_size), workers)
        ]
        for rank in range(world_size)
    ]


def test_processes_share_the_global_batch_of_each_step() -> None:
    (whole,) = shares(1, workers=0)
    first, second = shares(2, workers=0)
    assert [a + b for a, b in zip(first, second, strict=True)] == whole


def test_loader_workers_change_nothing() -> None:
    assert shares(1, workers=2) == shares(1, workers=0)
