from router.metrics import COMPARISON, FAILOVER
from router.wire.node_use import Compared
from serving.telemetry.cells import Metrics
from serving.telemetry.families import REQUEST_SECONDS, REQUESTS, SECONDS_BUCKETS
from understudy.supervision.node_traffic import served

CANARY = ("digits", "digits/2", "canary")


def test_what_processes_answered_adds_up_and_a_failover_counts_against_the_canary(tmp_path):
    for process in ("worker-a", "worker-b"):
        metrics = Metrics(tmp_path, process)
        metrics.counter(REQUESTS, *CANARY, "200").add(10)
        metrics.counter(REQUESTS, *CANARY, "400").add(3)
        metrics.counter(REQUESTS, *CANARY, "503").add(2)
        metrics.histogram(REQUEST_SECONDS, *CANARY).observe(0.0003)
        for reason, count in (("timeout", 4), ("failed", 1), ("not_ready", 50), ("budget", 2)):
            metrics.counter(FAILOVER, "digits", "digits/2", reason).add(count)
        for verdict, count in (("same", 7), ("different", 1)):
            metrics.counter(COMPARISON, "digits", "digits/2", "label", verdict).add(count)
        metrics.close()
    [row], compared = served(tmp_path)
    row = row.model_dump()
    latency = row.pop("latency")
    assert row == dict(zip(("model", "target", "role"), CANARY, strict=True)) | {
        "requests": 30,
        "failures": 14,  # 503s, and what stable answered in its place
    }
    assert len(latency) == len(SECONDS_BUCKETS) + 1
    assert latency[SECONDS_BUCKETS.index(0.0005)] == sum(latency) == 2
    assert compared == [
        Compared(model="digits", target="digits/2", output="label", comparisons=16, differences=2)
    ]


def test_a_node_that_answered_nothing_says_so(tmp_path):
    assert served(tmp_path) == ([], [])


def test_what_is_too_much_for_a_report_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.supervision.node_traffic.MAX_ROWS", 2)
    metrics = Metrics(tmp_path, "worker")
    for number in range(3):
        metrics.counter(REQUESTS, "digits", f"digits/{number}", "stable", "200").add()
        metrics.counter(COMPARISON, "digits", f"digits/{number}", "label", "same").add()
    metrics.close()
    assert [len(rows) for rows in served(tmp_path)] == [2, 2]
