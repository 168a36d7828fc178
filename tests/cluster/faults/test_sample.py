"""A few faults of the campaign on a real cluster, in the time that continuous integration has."""

import os
import shutil
from pathlib import Path

import pytest
from campaign import main

KINDS = "time limit lowered / sandbox; scancel / sandbox; rank killed / sandbox; preempted, grace / sif"


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_sample_of_the_campaign_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0 or "MSBATCH_CLUSTER" not in os.environ:
        pytest.skip("no test cluster: as root, run make cluster-up and make cluster-test")
    folder = Path(os.environ["MSBATCH_CLUSTER"]).with_name("msbatch-faults-sample")
    shutil.rmtree(folder, ignore_errors=True)
    code = main(["--seed", "1", "--kinds", KINDS, "--folder", str(folder)])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "faults: 4 injected" in out
    shutil.rmtree(folder)
