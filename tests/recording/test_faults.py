"""Recordings that come to harm in a process of their own; the bench (`--record-faults 50`) does more."""

import sys

import pytest

from realtime_polyp.bench.record_faults import faults_table, measure_faults

SLOW_MACHINE_S = 15.0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_harmed_recordings_open_and_tell_what_is_missing():
    left = measure_faults(1, faults=("kill -9", "file copy", "removed folder"))
    print(faults_table(left))
    for one in left:
        assert one.problem is None or one.problem.endswith("s are missing")
        assert max(one.results_s, one.picture_s) < SLOW_MACHINE_S and any("cut off" in told for told in one.told)
