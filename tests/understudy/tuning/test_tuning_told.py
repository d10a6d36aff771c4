"""What tuning says and writes, from steps of load to `config.yaml`; on the page of variants it is run."""

import json
from collections import Counter
from math import inf

import pytest
import typer

from router.counting.latency import bucket
from understudy.bench.steps import Objective, Step, Window
from understudy.tuning.command import MISSED, tell
from understudy.tuning.measuring import Asked, write
from understudy.tuning.trials import Choice, Tuned, judged
from understudy.tuning.trying import Target

OBJECTIVE = Objective(inf, 0.001, 0.01)


def step(rate, seconds, busy=0.1):
    return Step(rate, Window(1.0, Counter({200: rate}), Counter({bucket(seconds): rate}), busy=busy))


SLOW, QUICK, MORE = step(100, 0.5), step(100, 0.001), step(200, 0.002, busy=0.99)
NOW = judged(Choice(), [QUICK, SLOW], QUICK, OBJECTIVE, 1e5)
BETTER = judged(Choice(2, optimization="basic"), [QUICK, MORE], MORE, OBJECTIVE, 1e5)
MISSES = judged(Choice(), [SLOW], None, OBJECTIVE, 1e5)


def test_a_latency_that_nothing_keeps_is_told_with_what_was_missed(capsys):
    with pytest.raises(typer.Exit) as ended:
        tell(Tuned([MISSES], None, whole=False), "iris/1", 0.01, json=False)
    said = capsys.readouterr().out
    assert ended.value.exit_code == MISSED == 3
    assert " ms at 100/s" in said
    assert "none keeps a p99 of 10 ms: nothing was written" in said
    assert "not all was tried: --minutes were over" in said


def test_what_is_taken_is_marked_and_so_is_what_the_generator_limited(capsys):
    tell(Tuned([NOW, BETTER, NOW], BETTER, whole=True), "iris/1", 0.01, json=False)
    said = capsys.readouterr().out
    [taken] = [line for line in said.splitlines() if "taken" in line]
    assert "threads 2, optimization basic" in taken
    assert "200/s" in taken
    assert "at least" in taken
    assert "written to iris/config.yaml, for all versions of iris" in said
    assert "the limit was --highest or the generator" in said
    assert judged(Choice(), [QUICK], QUICK, OBJECTIVE, 100.0).limited
    tell(Tuned([NOW], NOW, whole=True), "iris/1", 0.01, json=False)
    assert "nothing takes a tenth more than what is there" in capsys.readouterr().out


def test_a_program_gets_all_figures(capsys):
    tell(Tuned([NOW], NOW, whole=True), "iris/1", 0.01, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["best"]["rate"] == 100.0
    assert told["best"]["choice"]["optimization"] is None


def test_what_is_taken_stands_in_the_configuration_with_its_figures(tmp_path):
    (tmp_path / "iris").mkdir()
    for text in (None, "labels: [a]  # kept\n"):
        if text is not None:
            (tmp_path / "iris" / "config.yaml").write_text(text)
        write(Asked(tmp_path, "iris/1", Target(0.01)), BETTER, NOW)
        written = (tmp_path / "iris" / "config.yaml").read_text()
        assert "# by `understudy models tune iris/1 --p99 10ms`" in written
        assert "200 requests/s with a p99 of" in written
        assert "before 100/s\nthreads: 2\n" in written
        assert "optimization: basic" in written
        assert (text or "") in written
