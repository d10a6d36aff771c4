"""The page of what variants bring, from raw figures. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

LEAST = 1.3
"""Times as fast, from which on the guard on speed of the page on variants keeps one."""

_PAGE = """# Variants: what 8 and 16 bits bring

`python -m benchmarks.variants` wrote this page and `variants.json` (the raw figures). Each variant was made
and measured by [`understudy models quantize`](../variants.md) with one thread, on rows held out from
training; both models timed in pairs, medians with an interval of 95%. The convolutions are bundled models.
The block of a transformer is made by the command: its projections are drawn at random, its head is learnt.

Measured on {cpu} ({instructions}), load {load:.1f}, onnxruntime {onnxruntime}.
**Elsewhere it is otherwise**: what pays is a matter of the CPU.

| model | variant | size | a run | times as fast | same label | right | rows run together |
|---|---|---|---|---|---|---|---|
{measured}

{said}

How often the guard on speed errs, and after how many pairs it is right, is
[simulated](policies.md#speed).
"""


def page(raw: Mapping[str, Any]) -> str:
    """All of it, as Markdown."""
    machine = {**raw["machine"], "instructions": ", ".join(raw["machine"]["instructions"])}
    return _PAGE.format(
        **machine,
        measured="\n".join(map(_row, raw["measured"])),
        said=_said(raw["measured"]),
    )


def _row(found: Mapping[str, Any]) -> str:
    if "refused" in found:
        return f"| {found['of']}: {found['about']} | {found['method']} | {found['refused']} | | | | | |"
    speed, (before, after) = found["speed"], found["bytes"]
    differing, compared = found["differing"]
    right = (f"{each / found['rows']:.1%}" for each in found["right"])
    cells = [
        f"{found['of']}: {found['about']}",
        found["method"],
        f"{before / 1000:.0f} -> {after / 1000:.0f} kB",
        f"{1e6 * speed['base'][0]:.0f} -> {1e6 * speed['candidate'][0]:.0f} us",
        f"**{1 / speed['ratio']:.2f}** ({1 / speed['most']:.2f} to {1 / speed['least']:.2f})",
        f"{1 - differing / compared:.1%} of {compared}",
        " -> ".join(right),
        "no" if found["dependence"] else "yes",
    ]
    return f"| {' | '.join(cells)} |"


def _said(measured: Sequence[Mapping[str, Any]]) -> str:
    """Which variants a guard would keep here, and which are slower than before."""
    timed = [each for each in measured if "speed" in each]
    fast = {f"{each['of']} {each['method']}": 1 / each["speed"]["ratio"] for each in timed}
    pays = ", ".join(name for name, speed in fast.items() if speed >= LEAST) or "none"
    slower = ", ".join(name for name, speed in fast.items() if speed < 1.0) or "none"
    return f"At least {LEAST} times as fast here: {pays}. Slower than what they were made of: {slower}."
