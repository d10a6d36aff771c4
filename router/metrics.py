"""The metric families of the router and of the sandboxes."""

from serving.telemetry.cells import Family
from serving.telemetry.families import SECONDS_BUCKETS

ROUTER_OVERHEAD_SECONDS = Family(
    "understudy_router_overhead_seconds",
    "histogram",
    "What routing added to a request: all of its time outside the target.",
    ("model",),
    SECONDS_BUCKETS,
)
FAILOVER = Family(
    "understudy_failover",
    "counter",
    "Requests of a candidate's share that stable answered, by reason.",
    ("model", "target", "reason"),
)
SHADOW = Family(
    "understudy_shadow",
    "counter",
    "Mirrored requests by outcome: compared, failed, timeout, dropped (the candidate was not asked).",
    ("model", "target", "outcome"),
)
TOP_UP = Family(
    "understudy_top_up",
    "counter",
    "Recorded requests by outcome, as of `understudy_shadow`, in which they are not counted.",
    ("model", "target", "outcome"),
)
PAIRS = Family(
    "understudy_pairs",
    "counter",
    "Requests of stable offered to time the canary's model beside stable's, by outcome: timed, failed, "
    "dropped (more than there was time for). None of them counts as mirrored or compared.",
    ("model", "target", "outcome"),
)
COMPARISON = Family(
    "understudy_comparison",
    "counter",
    "Outputs held against the reference answer: same, different, failed (the candidate gave none), unruled.",
    ("model", "target", "output", "verdict"),
)
COMPARISON_DISTANCE = Family(
    "understudy_comparison_distance",
    "histogram",
    "How far an output was from the reference, in the measure of its comparator.",
    ("model", "target", "output"),
    (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0),
)
UNRECEIPTED = Family(
    "understudy_answers_without_receipt",
    "counter",
    "Answers without the receipt that their rollout asks for: the process has no key from control yet.",
    ("model",),
)
OUTCOMES_RECEIVED = Family(
    "understudy_outcomes_received",
    "counter",
    "Outcomes told to this node: accepted, refused (no room on disk: the client is to send them again), or "
    "why they were left out. Empty labels: nobody knows the rollout, or the outcome.",
    ("model", "outcome", "result"),
)
OUTCOMES_SPOOLED = Family(
    "understudy_outcomes_spooled",
    "gauge",
    "Outcomes on the node's disk that control has not answered for yet.",
)
ROLLOUT_WEIGHT = Family(
    "understudy_rollout_weight",
    "gauge",
    "Percent of requests that the draw gives to a target.",
    ("model", "target", "role"),
    merge="max",
)
CONFIG_REVISION = Family(
    "understudy_config_revision",
    "gauge",
    "The oldest snapshot revision that a process serves from.",
    merge="min",
)
EJECTIONS = Family(
    "understudy_ejections",
    "counter",
    "Times a failing target was taken out of the path for a while.",
    ("target",),
)
IN_FLIGHT = Family(
    "understudy_requests_in_flight", "gauge", "Requests that wait for a target just now.", ("model",)
)
