"""Two control planes over one database: one leads, and what the other still believes is not written."""

import os
import signal

import pytest

from harness.control import CANARY, STABLE, Control, controlling
from harness.system import eventually


def leads(control: Control) -> bool:
    return "another control leads" not in control.client.get("/readyz").text


@pytest.mark.slow
def test_the_second_leads_when_the_first_sleeps_and_the_first_writes_nothing_when_it_wakes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    environment = {"UNDERSTUDY_DATABASE": f"sqlite:///{tmp_path}/shared.db"}
    with controlling(tmp_path / "a", environment=environment) as first:
        first.put("digits", STABLE).raise_for_status()
        second = Control(tmp_path / "b", environment=environment)
        try:
            eventually(lambda: second.client.get("/readyz").status_code == 503, "the second is there")
            assert not leads(second)
            assert second.put("digits", CANARY).status_code == 503
            os.kill(first.process.popen.pid, signal.SIGSTOP)
            try:
                eventually(lambda: leads(second), "the second leads")
                assert second.view("digits")["revision"] == 1
                second.put("digits", CANARY, 1).raise_for_status()
            finally:
                os.kill(first.process.popen.pid, signal.SIGCONT)
            # Its first answer may still be from before it noticed; what counts is that nothing is written.
            late = first.put("digits", {**STABLE, "timeout": "9s"}, 1)
            assert late.status_code in {412, 503}, late.text
            eventually(lambda: not leads(first), "the first knows")
            rows = second.history("digits")
            assert [row["revision"] for row in rows] == [2, 1]
            assert rows[0]["document"]["canary"]["model"] == "digits/2"
        finally:
            second.client.close()
            code = second.process.end()
        assert code == 0, second.process.log.read_text()[-4000:]
        eventually(
            lambda: leads(first) and first.view("digits")["revision"] == 2, "the first has taken it up"
        )
