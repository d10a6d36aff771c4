"""docs/benchmarks/fleet.md of the figures."""

from collections.abc import Mapping
from typing import Any

from benchmarks.tools.pages import table


def page(found: Mapping[str, Any]) -> str:
    """In Markdown."""
    plan, rest, traffic = found["plan"], found["rest"], found["traffic"]
    workers = plan["processes"] - plan["canaries"]
    beside = found["beside"] or "nothing that we started"
    asked = f"--nodes {plan['nodes']} --processes {plan['processes']} --canaries {plan['canaries']}"
    return f"""# A fleet at one control: {plan["nodes"]} nodes of {plan["processes"]} processes

`python -m benchmarks.fleet {asked}`: {workers} workers and {plan["canaries"]} sandboxes
on each node, at one control with PostgreSQL; {plan["rollouts"]} rollouts in force,
{plan["canaries"]} of them with a canary. Control has a core of its own; the hosts, PostgreSQL and HAProxy
share the other. What a node says is said by the code of real nodes (relay, exchange, ledger, recorders), but
hosts are simulated: they load no model and answer no request, a process reaches its supervisor by a call, and
they parse each rollout once for all. All of them are one Python process: where that is busy, it is what is
measured. 300 nodes of 8 processes, which is aimed at, say more than one such process can (about 1,500
reports/s), so that fleet was not measured. {found["machine"]}.
Beside it ran {beside}; load average {found["load_before"]:.1f} before and {found["load_after"]:.1f} after.

{_steady(rest, traffic)}
Under traffic each worker counts 50 requests/s of each rollout with a canary, so that each report tells
counts. An edit is acknowledged by a process when control has taken its word that the edit is in force there;
from before the edit was sent, over {plan["edits"]} edits in each column and all processes.

## Control is gone

Seconds since the process was killed, under traffic and at rest. HAProxy gives connections to whichever
control says that it leads, which it asks ten times a second.

{_gone(found["killed"], found["restarted"])}"""


def _steady(rest: Mapping[str, float], traffic: Mapping[str, float]) -> str:
    def both(name: str, form: str) -> list[str]:
        return [form.format(each[name]) for each in (rest, traffic)]

    return table(
        ["", "at rest", "under traffic", "aimed at"],
        [
            ["control, share of a core", *both("control_cpu", "{:.0%}"), "< 25% at rest"],
            ["requests/s at control", *both("requests", "{:.0f}"), ""],
            ["reports of processes/s in them", *both("reports", "{:.0f}"), ""],
            ["memory of control", *both("memory_mb", "{:.0f} MB"), ""],
            ["edit to acknowledged, p50", *both("edit_p50_ms", "{:.0f} ms"), ""],
            ["edit to acknowledged, p99", *both("edit_p99_ms", "{:.0f} ms"), "< 2,000 ms"],
            ["by the last process, median of edits", *both("last_p50_ms", "{:.0f} ms"), ""],
            ["by the last process, worst edit", *both("last_worst_ms", "{:.0f} ms"), ""],
            ["all hosts together, share of a core", *both("hosts_cpu", "{:.0%}"), ""],
        ],
    )


def _gone(killed: Mapping[str, float], again: Mapping[str, float]) -> str:
    def both(name: str) -> list[str]:
        return [f"{each[name]:.2f} s" for each in (killed, again)]

    return table(
        ["", "leader killed, another waits", "killed, and started again at once", "aimed at"],
        [
            ["a control leads", *both("leads"), "< 3 s where another waits"],
            ["an edit is made", *both("written"), "< 3 s where another waits"],
            ["the report of a process is taken", *both("first"), ""],
            ["one of each process is taken", *both("everybody"), ""],
            ["the edit is acknowledged by each", *both("in_force"), ""],
            ["processor time of control until then", *both("cpu_seconds"), ""],
        ],
    )
