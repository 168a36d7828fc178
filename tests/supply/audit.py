"""Audits the environment without a network: what is installed is what was locked, and is not known to be unsafe.

Whether advisories came out since FLOORS was written, only a database with a network can say: see the README.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
import sysconfig
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

TOP = Path(__file__).resolve().parents[2]

# The first version without a published weakness that a cohort, a weights file or a page could use.
FLOORS = {
    "filelock": ("3.20.1", "CVE-2025-68146"),
    "fonttools": ("4.60.2", "CVE-2025-66034"),
    "h11": ("0.16", "CVE-2025-43859"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "pillow": ("12.2", "CVE-2026-40192"),
    "scikit-learn": ("1.5", "CVE-2024-5206"),
    "setuptools": ("78.1.1", "CVE-2025-47273"),
    "torch": ("2.10", "CVE-2025-32434, CVE-2026-24747"),
    "tqdm": ("4.66.3", "CVE-2024-34062"),
    "werkzeug": ("3.0.6", "CVE-2024-49766, CVE-2024-49767"),
}

UNLOCKED = {"msbatch", "pip"}


def requirements(lock: Path) -> list[tuple[str, str, set[str]]]:
    """Give every package of a lock with its version and the hashes that its files may have."""
    found = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    --hash=.*)*)", lock.read_text(), re.MULTILINE)
    return [(name, version, set(re.findall(r"sha256:(\w{64})", rest))) for name, version, rest in found]


def problems_of_lock(lock: Path) -> Iterator[str]:
    """Name what a lock lets in without a hash, and what is known to be unsafe."""
    for name, version, hashes in requirements(lock):
        if not hashes:
            yield f"{lock.name}: {name} {version} has no hash"
        floor, advisories = FLOORS.get(name, ("0", ""))
        if Version(version) < Version(floor):
            yield f"{lock.name}: {name} {version} is below {floor}: {advisories}"


def problems_of_wheel(wheel: Path, permitted: set[str], site: Path) -> Iterator[str]:
    """Name a wheel that is not locked, and every installed file that differs from the one in its wheel."""
    with wheel.open("rb") as handle:
        if hashlib.file_digest(handle, "sha256").hexdigest() not in permitted:
            yield f"{wheel.name} is not what was locked"
            return
    for name, digest in _records(wheel):
        path = site / name
        if not path.is_file():
            yield f"{path} of {wheel.name} is missing"
        elif _digest(path) != digest:
            yield f"{path} is not as in {wheel.name}"


def strangers(site: Path, checked: set[str]) -> Iterator[str]:
    """Name the packages that come from no wheel that was looked at, and the files that belong to no package."""
    owned = set()
    for found in distributions(path=[str(site)]):
        if canonicalize_name(found.name) not in checked | UNLOCKED:
            yield f"{found.name} {found.version} is installed, but there is no locked wheel of it"
        owned |= {Path(str(found.locate_file(file))) for file in found.files or ()}
    for path in site.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and path not in owned:
            yield f"{path} belongs to no package"


def _records(wheel: Path) -> Iterator[tuple[str, str]]:
    """Give a wheel's files below site-packages with their hashes; scripts are rewritten when they are installed."""
    with zipfile.ZipFile(wheel) as opened:
        (record,) = (name for name in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", name))
        rows = list(csv.reader(io.TextIOWrapper(opened.open(record), encoding="utf-8")))
    for name, digest, _ in rows:
        inside = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", name)
        if digest and not re.match(r"[^/]+\.data/", inside):
            yield inside, digest.removeprefix("sha256=")


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return urlsafe_b64encode(hashlib.file_digest(handle, "sha256").digest()).rstrip(b"=").decode()


def problems(site: Path, wheels: Path, locks: list[Path]) -> Iterator[str]:
    """Name everything that is wrong with an environment that was installed from a folder of locked wheels."""
    permitted, found = set[str](), sorted(wheels.glob("*.whl"))
    for lock in locks:
        yield from problems_of_lock(lock)
        permitted |= {digest for *_, hashes in requirements(lock) for digest in hashes}
    for wheel in found:
        yield from problems_of_wheel(wheel, permitted, site)
    yield from strangers(site, {canonicalize_name(wheel.name.partition("-")[0]) for wheel in found})


def main() -> int:
    """Print what is wrong, and a line in the end; give 1 if anything is."""
    wheels, site = TOP / ".wheels", Path(sysconfig.get_path("purelib"))
    found = list(problems(site, wheels, [TOP / "requirements.lock", TOP / "requirements-light.lock"]))
    met = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    found += met.stdout.splitlines() if met.returncode else []
    print(*found, sep="\n", end="\n" if found else "")
    print(f"audit: {len(list(wheels.glob('*.whl')))} wheels, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
