"""A seeded sample of the kills; ``make kills`` does all."""

import subprocess
import sys
from pathlib import Path


def test_a_sample_of_kills_loses_nothing() -> None:
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", "12", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" kills, 0 unreadable, 0 lost, 0 different")
