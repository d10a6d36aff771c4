"""The three pictures of docs/benchmarks/policies.md."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

Row = dict[str, str]


def draw(tables: Mapping[str, list[Row]], raw: Path) -> None:
    """Write aa.png, power.png and agreement.png."""
    _aa(tables["aa"], raw / "aa.png")
    _power(tables["power"], raw / "power.png")
    _agreement(tables["agreement"], raw / "agreement.png")


def _aa(rows: list[Row], path: Path) -> None:
    rows = [row for row in rows if row["test"] == "label test"]
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for key, name, colour in (
        ("peeking_z_crossed", "z-test, looked at every time", "tab:red"),
        ("harm_crossed", "label test: harmful", "tab:blue"),
        ("safe_crossed", "label test: proven", "tab:green"),
    ):
        axes.plot(sorted(max(float(row[key]), 1e-4) for row in rows), ".", color=colour, label=name)
    axes.axhline(float(rows[0]["tolerated"]), color="black", linewidth=1, label="alpha + 3 standard errors")
    axes.set(yscale="log", xlabel="cells, sorted", ylabel="share of A/A runs with a verdict")
    axes.legend()
    _save(figure, path)


def _power(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    here = [
        row
        for row in rows
        if row["rps"] == "100.0"
        and row["weight"] == "0.1"
        and row["stable_errors"] == "0.005"
        and row["failed_median"]
        and float(row["rolled_back"]) >= 0.5
        and row["policy"] != "label test alone"
        and row["truth"] == "bad"
    ]
    for policy in dict.fromkeys(row["policy"] for row in here):
        of = [row for row in here if row["policy"] == policy]
        axes.errorbar(
            [float(row["canary_errors"]) for row in of],
            [float(row["failed_median"]) for row in of],
            yerr=[[0.0] * len(of), [float(row["failed_p95"]) - float(row["failed_median"]) for row in of]],
            marker="o",
            capsize=3,
            label=policy,
        )
    axes.set(xscale="log", yscale="log", xlabel="error rate of the canary (stable: 0.5%)")
    axes.set_ylabel("failed requests until rollback\nmedian and 95%; where half are caught")
    axes.legend()
    _save(figure, path)


def _agreement(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    here = [row for row in rows if row["policy"] == "alpha 1%, three guards"]
    for verdict, colour in (("proven", "tab:green"), ("harmful", "tab:red")):
        of = [row for row in here if float(row[verdict]) >= 0.5]
        axes.errorbar(
            [max(float(row["disagreement"]), 1e-4) for row in of],
            [float(row[f"{verdict}_median"]) for row in of],
            yerr=[
                [0.0] * len(of),
                [float(row[f"{verdict}_p95"]) - float(row[f"{verdict}_median"]) for row in of],
            ],
            marker="o",
            capsize=3,
            color=colour,
            label=verdict,
        )
    axes.axvline(0.02, color="black", linewidth=1, label="tolerated: 2%")
    axes.set(xscale="log", yscale="log", xlabel="disagreement (0 drawn at 0.01%)")
    axes.set_ylabel("comparisons until the verdict\nmedian and 95%")
    axes.legend()
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
