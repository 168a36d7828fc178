"""What a run's predictions, its plan and its store say: the one object that tables, terminal and report are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msbatch.plan import Plan, Task
from msbatch.predictions import Predictions
from msbatch.results.analysis import Backbone, Cohort, Comparison
from msbatch.results.collect import Missing
from msbatch.results.folds import FoldResult
from msbatch.results.frozen import Probe
from msbatch.results.rows import Row


@dataclass(frozen=True)
class Reduction:
    """All that a run says.

    Attributes
    ----------
    predictions : mapping of Task to Predictions
        As far as they are usable.
    results : dict of str to dict of int to FoldResult
        By backbone and fold; further seeds as backbones of their own, by the name of the arm.
    arms : dict of str to dict of int to FoldResult
        The same, with trainings under permuted labels.
    folds, cells, patients : list of dict
        Rows of the three main tables.
    missing : list of Missing
        What no total contains.
    backbones : dict of str to Backbone
        Odd folds, influence, calibration and subgroups of each.
    comparison : Comparison
        Of the backbones.
    cohort : Cohort or None
        What needs the store: nuisance, tests, verdict.
    no_cohort : str
        Why there is none.
    probes : list of Probe
        What the heads of frozen backbones were made of.
    """

    plan: Plan
    predictions: Mapping[Task, Predictions]
    results: dict[str, dict[int, FoldResult]]
    arms: dict[str, dict[int, FoldResult]]
    folds: list[Row]
    cells: list[Row]
    patients: list[Row]
    missing: list[Missing]
    backbones: dict[str, Backbone]
    comparison: Comparison
    cohort: Cohort | None = None
    no_cohort: str = ""
    probes: list[Probe] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every fold is there, of every backbone and of every further training."""
        return not self.missing

    @property
    def missing_folds(self) -> list[Missing]:
        """The missing folds of the backbones; further seeds and permuted labels make no table partial."""
        return [gap for gap in self.missing if gap.backbone in self.plan.backbones]
