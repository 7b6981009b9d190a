"""Kill -9 at random moments: the next `dvc repro` gives what an undisturbed run gives, and nothing runs on."""

import pytest

import kills
import soak
from sandbox import fresh

SLOW, SOAK = 2, 20  # kills of each stage, and of DVC
RUNS = 4  # first runs over which the kills of DVC are spread


@pytest.mark.slow
@pytest.mark.parametrize("stage", kills.STAGES)
def test_a_killed_stage_is_made_again(finished, tmp_path, stage):
    tally = kills.kill_stage_often(finished, kills.copy(finished, tmp_path / "study"), stage, SLOW)
    assert tally.alive_when_killed >= 1, "no kill met a living stage"


@pytest.mark.soak
def test_many_kills_of_every_stage(finished, tmp_path):
    rows = {}
    for stage in kills.STAGES:
        study = kills.copy(finished, tmp_path / stage)
        rows[stage] = kills.kill_stage_often(finished, study, stage, SOAK).row()
        assert rows[stage]["alive_when_killed"] >= SOAK // 2
    soak.record("kills", rows)


@pytest.mark.soak
def test_many_kills_of_dvc(finished, tmp_path):
    tallies = [
        kills.kill_dvc_often(finished, fresh(tmp_path / f"dvc{number}", finished.home), SOAK // RUNS)
        for number in range(RUNS)
    ]
    row = {key: sum(tally.row()[key] for tally in tallies) for key in tallies[0].row()}
    assert row["alive_when_killed"] >= SOAK // 2
    soak.record("kills_of_dvc", {"dvc repro": row})
