"""The manifests that the figures of a bench suggest: a HorizontalPodAutoscaler, or KEDA's ScaledObject. Pure.

Law: each number in them was measured or asked for, and the comments say which. The target is what
`understudy_saturation` of one node is at the rate to plan for, so a fleet at its target keeps the objective.
Names are those of the chart (`deploy/helm`) for a release `understudy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from serving.errors import InvalidInput
from understudy.bench.advice import HEADROOM
from understudy.bench.steps import Objective, Step

LEAST_REPLICAS = 2
"""One may always be away."""
MOST_TARGET = 0.85
"""Kubernetes acts on what is 10% beyond a target, and saturation ends at 1: a higher one would never be."""
LEAST_TARGET = 0.01


class Autoscaler(StrEnum):
    """For whom a manifest is."""

    hpa = "hpa"
    keda = "keda"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What all nodes together are asked.

    Args:
        low: requests a second when hardly anybody asks.
        high: at the peak.
    """

    low: float
    high: float

    @staticmethod
    def read(text: str) -> "Fleet":
        """From `LOW..HIGH`.

        Raises:
            ValueError: it is none, in words.
        """
        low, dots, high = text.partition("..")
        try:
            fleet = Fleet(float(low), float(high))
        except ValueError:
            dots = ""
        if not dots or not 0 < fleet.low <= fleet.high < 1e9:
            raise ValueError("is LOW..HIGH, requests a second, e.g. 500..5000")
        return fleet


@dataclass(frozen=True, slots=True)
class Plan:
    """What the manifests say.

    Args:
        target: of `understudy_saturation`, 0 to 1.
        least: nodes.
        most: nodes.
        reasons: from which figures, a sentence each.
    """

    target: float
    least: int
    most: int
    reasons: tuple[str, ...]


def planned_rate(knee: Step | None) -> tuple[Step, float]:
    """The knee, and the requests a second of one node to plan for.

    Raises:
        InvalidInput: no rate kept the objective.
    """
    if knee is None:
        raise InvalidInput("no manifest: no rate kept the objective; see the advice")
    return knee, knee.achieved * HEADROOM


def plan(
    model: str, steps: Sequence[Step], knee: Step, at_plan: Step, objective: Objective, fleet: Fleet
) -> Plan:
    """The plan for a fleet, by what one node did.

    Args:
        model: that was asked.
        steps: of the ramp.
        knee: the best that kept the objective.
        at_plan: held at `planned_rate` of it, with its saturation.
        objective: that is to be kept.
        fleet: what all nodes together are asked.

    Raises:
        InvalidInput: the figures are not there, or say that the plan would not do.
    """
    if at_plan.saturation is None:
        raise InvalidInput(
            "no manifest: the server says no understudy_saturation; give --metrics its metrics"
        )
    if missed := at_plan.shortfall(objective):
        raise InvalidInput(
            f"no manifest: at {at_plan.offered:,.0f}/s, which is to be planned for, the objective was missed"
            f" ({missed}); try a longer --step, so that the knee is found more surely"
        )
    target = round(min(max(at_plan.saturation, LEAST_TARGET), MOST_TARGET), 2)
    least = max(LEAST_REPLICAS, ceil(fleet.low / at_plan.offered))
    most = max(least, ceil(fleet.high / at_plan.offered))
    kept = (
        f"One node, asked for {model}, kept {_kept(objective)} up to {knee.offered:,.0f} requests/s"
        f" (p99 {_p99(knee)}){_left(steps, knee, objective)}."
    )
    planned = (
        f"Planned for is {at_plan.offered:,.0f}/s, {HEADROOM:.0%} of what it answered there. Held at that,"
        f" p99 was {_p99(at_plan)} and understudy_saturation {at_plan.saturation:.2f}:"
        f" the target{_capped(at_plan.saturation)}."
    )
    wanted = f"{fleet.low:,.0f} to {fleet.high:,.0f} requests/s were asked for: {least} to {most} such nodes."
    return Plan(target, least, most, (kept, planned, wanted))


def _p99(step: Step) -> str:
    return f"{step.seen.percentile(99) * 1e3:.3g} ms"


def _kept(objective: Objective) -> str:
    p99 = "" if objective.p99_seconds is None else f", p99 <= {objective.p99_seconds * 1e3:g} ms"
    return f"p95 <= {objective.p95_seconds * 1e3:g} ms{p99} and errors <= {objective.errors:.2%}"


def _left(steps: Sequence[Step], knee: Step, objective: Objective) -> str:
    """Where it did not keep the objective any more; or that nobody knows."""
    if any(step.generator_limited for step in steps):
        return ", where the load generator and not the node was the limit: it takes at least that"
    beyond = [step for step in steps if step.offered > knee.offered and step.shortfall(objective)]
    if not beyond:
        return ", the highest that was tried"
    first = min(beyond, key=lambda step: step.offered)
    return f" and left it at {first.offered:,.0f}/s ({first.shortfall(objective)})"


def _capped(saturation: float) -> str:
    if saturation <= MOST_TARGET:
        return ""
    return f", but for the most that lets an autoscaler see more ({MOST_TARGET:g})"


def manifests_of(autoscaler: Autoscaler, plan: Plan, kind: str, namespace: str) -> str:
    """YAML for `kubectl apply`.

    Args:
        autoscaler: for whom.
        plan: what it says.
        kind: of the nodes' workload, `Deployment` or `StatefulSet`.
        namespace: of the release.
    """
    by, template = ("saturation", _HPA) if autoscaler is Autoscaler.hpa else ("keda", _KEDA)
    values = (
        f"{{enabled: true, by: {by}, saturation: {plan.target},"
        f" minReplicas: {plan.least}, maxReplicas: {plan.most}}}"
    )
    text = template.format(
        kind=kind, namespace=namespace, least=plan.least, most=plan.most,
        target=plan.target, milli=round(plan.target * 1000),
    )  # fmt: skip
    heads = [*plan.reasons, f"By the chart, in place of what follows: node.autoscaling: {values}"]
    return "".join(f"# {head}\n" for head in heads) + text


_HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: understudy-node, namespace: {namespace}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: {kind}, name: understudy-node}}
  minReplicas: {least}
  maxReplicas: {most}
  metrics:
    - type: Pods
      pods:
        metric: {{name: understudy_saturation}}
        target: {{type: AverageValue, averageValue: {milli}m}}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
      policies: [{{type: Pods, value: 1, periodSeconds: 60}}]
---
# For prometheus-adapter, under `rules.custom` of its chart: the metric of Prometheus becomes one of pods.
apiVersion: v1
kind: ConfigMap
metadata: {{name: understudy-adapter-rules, namespace: {namespace}}}
data:
  rules.yaml: |
    - seriesQuery: understudy_saturation{{namespace!="",pod!=""}}
      resources: {{overrides: {{namespace: {{resource: namespace}}, pod: {{resource: pod}}}}}}
      name: {{as: understudy_saturation}}
      metricsQuery: max by (<<.GroupBy>>) (avg_over_time(<<.Series>>{{<<.LabelMatchers>>}}[1m]))
"""
_KEDA = """\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: understudy-node, namespace: {namespace}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: {kind}, name: understudy-node}}
  minReplicaCount: {least}
  maxReplicaCount: {most}
  # While Prometheus cannot be asked, no node goes.
  fallback: {{failureThreshold: 3, replicas: {least}, behavior: currentReplicasIfHigher}}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: 300
          policies: [{{type: Pods, value: 1, periodSeconds: 60}}]
  triggers:
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: http://prometheus-operated.monitoring:9090
        # The sum of all nodes, which KEDA divides by the threshold.
        query: >-
          sum(avg_over_time(understudy_saturation{{namespace="{namespace}",pod=~"understudy-node-.*"}}[1m]))
        threshold: '{target}'
"""
