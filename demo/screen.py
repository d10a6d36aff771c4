"""How the demo looks: a live layout in a terminal, a line every few seconds elsewhere."""

import time
from typing import Self

from rich.console import Console
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from control.judging.verdicts import e_value
from watched import Guard, Look

PLAIN_SECONDS = 3.0
SENTENCE_LINES = 3
FIGURE_LINES = 7
BAR = 19


class Screen:
    """Shows the scene, the latest look and what happened last.

    Args:
        live: draw in place; otherwise print lines.
    """

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False) if live else None
        self._title = "starting"
        self._detail: list[str] = []
        self._look: Look | None = None
        self._printed = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def scene(self, title: str) -> None:
        """A new scene begins."""
        self._title, self._detail = title, []
        if self._live is None:
            self._console.print(Text(f"\n== {title}"))
        self._draw()

    def say(self, text: str) -> None:
        """Something happened; `text` may have many lines."""
        self._detail.append(text)
        if self._live is None:
            self._console.print(Text(text), soft_wrap=True)
        self._draw()

    def show(self, look: Look) -> None:
        """The latest figures."""
        moved = self._look is not None and (look.phase, look.step) != (self._look.phase, self._look.step)
        self._look = look
        if self._live is not None:
            self._draw()
        elif (moved or time.monotonic() - self._printed >= PLAIN_SECONDS) and look.seen:
            self._print(look)

    def summary(self) -> None:
        """The latest figures as lines, unless they were just printed."""
        if self._look is not None and self._live is None and time.monotonic() - self._printed >= 1.0:
            self._print(self._look)

    def _print(self, look: Look) -> None:
        self._printed = time.monotonic()
        for line in lines(look):
            self._console.print(Text("   " + line), soft_wrap=True)

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._layout(), refresh=True)

    def _layout(self) -> Layout:
        sentence = self._look.sentence if self._look else "..."
        inside = self._console.width - 4
        room = self._console.height - SENTENCE_LINES - FIGURE_LINES - 2
        detail = Text("\n".join(self._detail)).wrap(self._console, inside)[-max(room, 1) :]
        layout = Layout()
        layout.split_column(
            Layout(Panel(Text(sentence), title=Text(self._title, style="bold")), size=SENTENCE_LINES),
            Layout(Text(), name="figures", size=FIGURE_LINES),
            Layout(Panel(Text("\n").join(detail))),
        )
        if self._look is not None:
            right = _evidence(self._look.guards) if self._look.guards else _agreement(self._look)
            layout["figures"].split_row(Layout(_targets(self._look), size=43), Layout(right))
        return layout


def lines(look: Look) -> list[str]:
    """The figures in plain text."""
    found = [look.sentence]
    for target, seen in look.seen.items():
        found.append(
            f"{target}: weight {look.weights.get(target, 0):g}%, served {look.share(target):.1f}%, "
            f"accuracy {seen.right / seen.answers:.1%}, p50 {seen.milliseconds(50):.2f} ms, "
            f"p99 {seen.milliseconds(99):.2f} ms"
        )
    if look.guards:
        return found + [
            f"{guard.name}: {guard.verdict}, e-value for harm {_e_value(guard.log_harm)}, "
            f"for being no worse {_e_value(guard.log_safe)}, needed {_e_value(guard.log_line)}"
            for guard in look.guards
        ]
    for (target, output), (same, compared) in look.agreement.items():
        found.append(
            f"{target} agrees on {output} with what was answered: {_share(same, compared)} of {compared}"
        )
    return found


def _targets(look: Look) -> Table:
    table = _table("target", "weight", "served", "right", "p50/p99 ms")
    for target in sorted(look.weights.keys() | look.seen.keys()):
        seen = look.seen.get(target)
        figures = ["-", "-"]
        if seen is not None:
            latency = "/".join(f"{seen.milliseconds(percent):.1f}" for percent in (50, 99))
            figures = [f"{seen.right / seen.answers:.1%}", latency]
        name = target.partition("@")[0]  # a URL is on the screen already
        table.add_row(name, f"{look.weights.get(target, 0):g}%", f"{look.share(target):.1f}%", *figures)
    return table


def _agreement(look: Look) -> Table:
    table = _table("compared", "output", "agrees", "of")
    for (target, output), (same, compared) in look.agreement.items():
        table.add_row(target, output, _share(same, compared), str(compared))
    return table


def _evidence(guards: tuple[Guard, ...]) -> Text:
    """Both e-values of each guard on a logarithmic scale that ends at the line; one below 1 has no bar."""
    found = []
    for guard in guards:
        found.append(f"{guard.name}: {guard.verdict}, needed {_e_value(guard.log_line)}")
        for name, log_e in (("harmful", guard.log_harm), ("no worse", guard.log_safe)):
            reached = min(max((log_e or 0.0) / guard.log_line, 0.0), 1.0)
            found.append(f"{name:<8} {_e_value(log_e):>7} {'#' * int(BAR * reached):.<{BAR}}|")
    return Text("\n".join(found), no_wrap=True)


def _e_value(log_e: float | None) -> str:
    return "-" if log_e is None else e_value(log_e)


def _table(*names: str) -> Table:
    """Narrow enough for two beside each other in 80 columns."""
    return Table(*names, box=None, pad_edge=False, padding=(0, 1, 0, 0))


def _share(same: int, compared: int) -> str:
    return f"{same / compared:.1%}" if compared else "-"
