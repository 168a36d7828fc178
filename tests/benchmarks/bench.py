"""Everything that msbatch measures of itself, as ratios to references in the same run: ``make bench``.

``python tests/benchmarks/bench.py [--json] [NAME ...]`` measures all groups, or those named. The exit code is 0
whenever all could be measured, whether or not targets were met.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # processes share the cores, threads do not
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent), str(HERE)]

from rows import CORES, Row, SkippedError, pin  # noqa: E402

# probe.py measures `msbatch probe` on malaria_cohort24; gpu.py comes last, since it takes all cores.
GROUPS = ("packing", "batches", "steps", "head", "probe", "startup", "thousand_tasks", "gpu")


def main() -> int:
    """Measure, print the table, and say whether all could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GROUPS)}")
    given = parser.parse_args()
    unknown = set(given.names) - set(GROUPS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    rows, notes, failed = measure_all(given.names or GROUPS)
    if given.json:
        print(json.dumps({"machine": machine(), "rows": rows, "notes": notes}, indent=2))
    else:
        print(as_text(rows, notes))
    return 1 if failed else 0


def measure_all(names: Sequence[str]) -> tuple[list[Row], list[str], bool]:
    """Give the rows of these groups, what is to be said of groups without any, and whether one of them failed."""
    rows: list[Row] = []
    notes: list[str] = []
    failed = False
    everywhere = os.sched_getaffinity(0)
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        started = time.perf_counter()
        os.sched_setaffinity(0, everywhere)
        try:
            rows += _measure(name)
        except SkippedError as why:
            notes.append(f"{name}: skipped, {why}")
        except Exception as error:
            traceback.print_exc()
            notes.append(f"{name}: FAILED, {error}")
            failed = True
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return rows, notes, failed


def as_text(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Give the table in Markdown, with machine, date and command."""
    lines = ["| what | reference | measured | target | |", "|---|---|---|---|---|"]
    for row in rows:
        sign = "≥" if row["better"] == "higher" else "≤"
        met = "met" if row["met"] else "**missed**"
        lines.append(
            f"| {row['what']} | {row['reference']} | {row['value']:.3g} | {sign} {row['target']:.4g} | {met} |"
        )
    details = [f"- {row['what']}: {row['detail']}" for row in rows if row["detail"]]
    return "\n".join([machine(), "", *lines, "", *details, *(f"- {note}" for note in notes)])


def machine() -> str:
    """Say where, when and how."""
    command = shlex.join(["python", "tests/benchmarks/bench.py", *sys.argv[1:]])
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        model = next(
            (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
        )
    return (
        f"{time.strftime('%Y-%m-%d')}, {model}, {CORES} of {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"warm page cache: `{command}`"
    )


def _measure(name: str) -> list[Row]:
    if importlib.util.find_spec(name) is None:
        raise SkippedError("it is not written yet")
    if name != "gpu":
        pin()
    rows: list[Row] = importlib.import_module(name).measure()
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
