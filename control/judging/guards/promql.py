"""A value of Prometheus: weighed, in words; nobody can simulate it. Pure."""

from control.judging.guard_evidence import Past, Pooled
from control.judging.guards.judged import Judged
from control.judging.guards.simulation import Traffic
from control.judging.measurements import Measurements, judge_measurements
from control.judging.verdicts import GuardVerdict
from router.rollout.guards.promql import PromQLGuard


def _weigh(guard: PromQLGuard, _pooled: Pooled, past: Past) -> GuardVerdict:
    return judge_measurements(guard, past.measurements.get(guard.name, Measurements()))


def _untold(_guard: PromQLGuard, _traffic: Traffic) -> str:
    return "nobody knows what Prometheus will say"


JUDGED: dict[type, Judged] = {PromQLGuard: Judged(_weigh, lambda *_: None, _untold)}
