"""The metric families of control."""

from serving.telemetry.cells import Family

CONFIG_REJECTED = Family("understudy_config_rejected", "counter", "Rollout files and documents refused.")
NODES_REFUSING = Family(
    "understudy_nodes_refusing",
    "gauge",
    "Nodes that take no snapshot: older_database (what they hold is newer), unusable (they cannot use it).",
    ("reason",),
    merge="max",
)
ROLLOUT_PHASE = Family(
    "understudy_rollout_phase",
    "gauge",
    "1 for the phase that a rollout is in.",
    ("model", "phase"),
    merge="max",
)
ROLLOUT_STEP = Family(
    "understudy_rollout_step",
    "gauge",
    "The step that a rollout is at, from 1; 0 without steps.",
    ("model",),
    merge="max",
)
NOTIFICATIONS = Family(
    "understudy_notifications",
    "counter",
    "Notifications by outcome: sent, retried, dropped.",
    ("channel", "outcome"),
)
APPROVALS = Family(
    "understudy_approvals",
    "counter",
    "Approvals of rollouts: counted, rejected, refused; model is empty where nobody known asked.",
    ("model", "outcome"),
)
HOOKS = Family(
    "understudy_hooks",
    "counter",
    "Requests to the webhooks of `run` steps: passed, halted, retried.",
    ("model", "outcome"),
)
OUTCOMES = Family(
    "understudy_outcomes",
    "counter",
    "Outcomes that were told: accepted, or the reason why not; model and outcome are empty where unknown.",
    ("model", "outcome", "result"),
)
FOLLOW_ASKED = Family(
    "understudy_follow_asked",
    "counter",
    "Questions to MLflow where a followed alias stands: answered, failed.",
    ("outcome",),
)
FOLLOW_PROBLEMS = Family(
    "understudy_follow_problems",
    "gauge",
    "1 while a rollout cannot follow its alias as it should.",
    ("model",),
    merge="max",
)
FOLLOW_WRITTEN = Family(
    "understudy_follow_written",
    "counter",
    "Promotions and rollbacks that MLflow is told: written, retried, dropped.",
    ("outcome",),
)
FOLLOW_HOOKS = Family(
    "understudy_follow_hooks",
    "counter",
    "Webhooks of MLflow: taken, forged, late, replayed.",
    ("outcome",),
)
GUARD_EVIDENCE = Family(
    "understudy_guard_evidence",
    "gauge",
    "Natural logarithm of a guard's e-value; it acts at understudy_guard_line.",
    ("model", "guard", "direction"),
    merge="max",
)
BEST_EVIDENCE = Family(
    "understudy_best_evidence",
    "gauge",
    "Natural logarithm of the least e-value that a side of an A/B/n test is better than another of it.",
    ("model", "target"),
    merge="max",
)
BEST_LINE = Family(
    "understudy_best_line",
    "gauge",
    "What understudy_best_evidence of the best must reach: ln(candidates / alpha).",
    ("model",),
    merge="max",
)
GUARD_LINE = Family(
    "understudy_guard_line",
    "gauge",
    "What the logarithm of a guard's e-value must reach: harm -ln(its part of alpha), safe ln(1 / alpha).",
    ("model", "guard", "direction"),
    merge="max",
)
