"""The page: what each section is given, and one file that holds all of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from msbatch.checksums import NAME, fill_sums, read_sums
from msbatch.files import atomic_path, fill_csv
from msbatch.layout import RunDir
from msbatch.lock import run_lock
from msbatch.results.reduce import FIGURES, LOCK_WAIT_S
from msbatch.results.reduction import Reduction
from msbatch.results.report import panels, paper, thumbnails
from msbatch.results.report.discrimination import discrimination, reliability
from msbatch.results.report.flow import class_words, covariate_grid, covariate_tests, flow
from msbatch.results.report.forest import forest
from msbatch.results.report.grid import count, span
from msbatch.results.report.summary import confusions, interval_words, summaries, summary_figure
from msbatch.results.report.svg import Figure
from msbatch.results.report.training import training
from msbatch.results.tables import Table, headline, odd_sentences, tables
from msbatch.text import safe

SECTIONS = {
    "answer": "The answer",
    "cohort": "The cohort",
    "folds": "Held-out patients",
    "discrimination": "Discrimination, calibration, comparison",
    "nuisance": "What else could explain it",
    "training": "Training curves",
    "cells": "Cells that went wrong, and right",
    "paper": "For the paper",
}

PAGE = "report.html"

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: RunDir, reduction: Reduction) -> Path:
    """Write ``results/report.html``, and the data of its figures beside it; the same run gives the same bytes.

    Parameters
    ----------
    run : RunDir
        The run.
    reduction : Reduction
        What it says; its tables are written already.
    """
    target, figures = run.results / PAGE, run.results / FIGURES
    with run_lock(run.reduce_lock, LOCK_WAIT_S), ExitStack() as moves:  # moves in reverse: the hashes come last
        sums, page = (moves.enter_context(atomic_path(path)) for path in (run.results / NAME, target))
        writer = _FigureWriter(figures, moves)
        page.write_text(_render(_content(run, reduction, writer)), encoding="utf-8")
        fill_sums(sums, {PAGE: page, **writer.written}, _of_tables(run))
    for path in figures.glob("*.csv"):  # of an earlier report
        if f"{FIGURES}/{path.name}" not in writer.written:
            path.unlink()
    return target


def _of_tables(run: RunDir) -> dict[str, str]:
    """Give the hashes that the reducer wrote."""
    return {name: own for name, own in read_sums(run.results).items() if not name.startswith((PAGE, f"{FIGURES}/"))}


class _FigureWriter:
    """Writes the data of figures, to be moved into their folder when `moves` ends."""

    def __init__(self, folder: Path, moves: ExitStack) -> None:
        self._folder = folder
        self._moves = moves
        self.written: dict[str, Path] = {}

    def write(self, figures: Iterable[Figure | None]) -> list[Figure]:
        return [self._write(figure) for figure in figures if figure is not None]

    def _write(self, figure: Figure) -> Figure:
        if figure.source:
            return figure
        path = self._folder / f"{figure.name}.csv"
        source = f"{FIGURES}/{path.name}"
        self.written[source] = self._moves.enter_context(atomic_path(path))
        fill_csv(self.written[source], figure.header, [[safe(value) for value in row] for row in figure.rows])
        return replace(figure, source=source)


def _content(run: RunDir, reduction: Reduction, writer: _FigureWriter) -> dict[str, Any]:
    plan, cohort = reduction.plan, reduction.cohort
    found = tables(reduction)
    return {
        "sections": list(SECTIONS.items()),
        "plan": plan,
        "level": plan.level,
        "negative": plan.classes[0],
        "positive": plan.classes[1],
        "missing": reduction.missing,
        "tasks": len(plan.tasks),
        "probes": reduction.probes,
        "verdict": cohort.verdict if cohort else None,
        "headline": headline(reduction),
        "refits": _refits(reduction),
        "no_cohort": reduction.no_cohort,
        **_answer(reduction, writer),
        **_cohort(reduction),
        **_folds(reduction, found, writer),
        **_discrimination(reduction, found, writer),
        **_nuisance(reduction, found, writer),
        **_training(run, reduction, writer),
        **_paper(run, reduction),
    }


def _refits(reduction: Reduction) -> dict[str, str]:
    """Give the permutations of each fine-tuned backbone that was tested by them."""
    tests = reduction.cohort.refits if reduction.cohort else {}
    return {name: count(test.permutations, "permutation") for name, test in tests.items() if test.p.number is not None}


def _draws(reduction: Reduction) -> str:
    """Give how many folds an odd one is the worst of: those with a label, as far as they are there."""
    labelled = [sum(fold.label is not None for fold in folds.values()) for folds in reduction.results.values()]
    return span(filter(None, labelled)) if any(labelled) else ""


def _answer(reduction: Reduction, writer: _FigureWriter) -> dict[str, Any]:
    return {
        "summaries": summaries(reduction),
        "intervals": interval_words(reduction),
        "summary_figures": writer.write(summary_figure(reduction)),
    }


def _cohort(reduction: Reduction) -> dict[str, Any]:
    there = reduction.cohort is not None
    return {
        "flow": flow(reduction),
        "covariates": covariate_grid(reduction),
        "montage": thumbnails.montage(reduction) if there else {},
        "galleries": thumbnails.galleries(reduction) if there else [],
    }


def _folds(reduction: Reduction, found: dict[str, Table], writer: _FigureWriter) -> dict[str, Any]:
    drawn = (
        figure
        for name, folds in reduction.results.items()
        for figure in forest(reduction.plan, name, folds, reduction.backbones[name].odd)
    )
    return {
        "forests": writer.write(drawn),
        "odd": {name: odd_sentences(reduction, name) for name in reduction.backbones},
        "influences": panels.influence_grid(found["influence"]),
        "fold_table": panels.fold_grid(reduction),
    }


def _discrimination(reduction: Reduction, found: dict[str, Table], writer: _FigureWriter) -> dict[str, Any]:
    own = reduction.backbones
    return {
        "curves": writer.write(discrimination(reduction, name) for name in own),
        "confusions": list(confusions(reduction)),
        "reliability": writer.write(reliability(name, each.calibration) for name, each in own.items()),
        "calibration": panels.calibration_grid(found["calibration"]),
        "comparison": panels.comparison_grid(found["comparison"]),
        "seeds": reduction.comparison.seeds,
        "best": panels.best_words(reduction),
    }


def _nuisance(reduction: Reduction, found: dict[str, Table], writer: _FigureWriter) -> dict[str, Any]:
    return {
        "nuisance": panels.nuisance_grid(found["nuisance"]),
        "tests": panels.test_grid(found["tests"]),
        "covariate_tests": covariate_tests(found["covariates"][1]),
        "subgroup_figures": writer.write(panels.subgroup_figures(reduction)),
        "gaps": panels.gap_grid(found["gaps"]),
    }


def _training(run: RunDir, reduction: Reduction, writer: _FigureWriter) -> dict[str, Any]:
    found = training(run, reduction)
    return {"training": replace(found, figures=writer.write(found.figures))}


def _paper(run: RunDir, reduction: Reduction) -> dict[str, Any]:
    plan, made = reduction.plan, paper.read_made(run)
    return {
        "versions": made.versions,
        "version_words": _version_words(made.versions),
        "size_words": f"{count(len(plan.folds), 'patient')}, {count(len(plan.backbones), 'backbone')}",
        "class_words": "; ".join(class_words(plan)),
        "draws": _draws(reduction),
        "validation_words": paper.validation_words(plan),
        "early": sum(fold.early_stopping for fold in plan.folds),
        "claim": paper.claim(reduction, made),
        "tripod": paper.tripod(reduction),
        "provenance": paper.provenance(run, reduction, made),
        "settings": json.dumps(plan.settings, indent=2, ensure_ascii=False),
    }


def _version_words(versions: dict[str, str]) -> str:
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Software: {listed}." if listed else "Software versions were not recorded in this run."


def _render(content: dict[str, Any]) -> str:
    loader = FileSystemLoader(_TEMPLATES, encoding="utf-8")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = {"style": Markup(style), "script": Markup(script), "script_sha256": Markup(digest)}  # noqa: S704
    return environment.get_template("report.html.jinja").render(**content, **own)
