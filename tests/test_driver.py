"""What is said about a node's driver, and when nothing needs to be said."""

from pathlib import Path

import pytest

from msbatch.driver import explain_driver, read_driver

CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\nGCC version: 9.3\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (builder@host)  Sun Jul 27\n"


@pytest.mark.parametrize(("text", "driver"), [(CLOSED, "470.57.02"), (OPEN, "580.65.06"), ("GCC version: 9.3\n", None)])
def test_the_driver_is_read_from_what_its_module_says(tmp_path: Path, text: str, driver: str | None) -> None:
    path = tmp_path / "version"
    path.write_text(text)
    assert read_driver(path) == driver


def test_a_node_without_a_driver_has_none(tmp_path: Path) -> None:
    assert read_driver(tmp_path / "version") is None


@pytest.mark.parametrize(
    ("cuda", "driver"),
    [
        ("12.8", "525.60.13"),  # any release of CUDA 12 runs on the first driver of CUDA 12
        ("12.8", "580.65.06"),
        ("13.0", "580.65.06"),
        ("11.8", "450.80.02"),
        ("14.0", "580.65.06"),  # not known here
        ("none", "450.80.02"),
        (None, "450.80.02"),
        ("12.8", None),
    ],
)
def test_nothing_is_said_where_nothing_is_wrong(cuda: str | None, driver: str | None) -> None:
    assert explain_driver(cuda, driver) == ""


@pytest.mark.parametrize(
    ("cuda", "driver", "needs", "instead"),
    [
        ("12.8", "525.60.11", "525.60.13", "CUDA 11"),
        ("12.8", "470.57.02", "525.60.13", "CUDA 11"),
        ("13.0", "535.104.05", "580.65.06", "CUDA 12"),
        ("11.8", "450.51", "450.80.02", "newer one"),
    ],
)
def test_an_old_driver_is_named_with_what_to_build_instead(cuda: str, driver: str, needs: str, instead: str) -> None:
    said = explain_driver(cuda, driver)
    assert f"CUDA {cuda}" in said
    assert driver in said
    assert needs in said
    assert instead in said
    assert ("--torch-wheels" in said) == instead.startswith("CUDA")
