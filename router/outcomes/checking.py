"""Whether a node takes an outcome, by its keys for receipts and the documents in force. Pure.

Law: a node leaves out what the documents in force leave no room for. What it takes, control looks at again,
which alone knows what was told before and how users were drawn at a time. A receipt of a key that the node
does not know is for the caller to decide: control may have told others of it first.
"""

from collections.abc import Mapping
from typing import NamedTuple

from router.counting.receipt import ReceiptKey, UnknownKey, name_id, read_draw
from router.counting.split import Role
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Outcome, Rollout
from router.wire.outcomes import Reason, Told, refusal
from serving.errors import InvalidInput


class Checked(NamedTuple):
    """What became of one outcome.

    Attributes:
        model: the public name; empty where nobody knows it.
        outcome: its name; empty where the rollout has none of this name.
        reason: why it is left out; None where it is taken.
        unknown: of a receipt of a key that is not known, when the request arrived as the receipt says.
    """

    model: str
    outcome: str
    reason: Reason | None
    unknown: float | None = None


class _Document(NamedTuple):
    """What of a rollout's document outcomes are held against.

    Attributes:
        model: the public name.
        sticky: whether it draws by users.
        outcomes: by name, each with what becomes of one that is taken.
    """

    model: str
    sticky: bool
    outcomes: Mapping[str, tuple[Outcome, Checked]]

    @classmethod
    def of(cls, rollout: Rollout) -> "_Document":
        model = rollout.model
        outcomes = {
            outcome.name: (outcome, Checked(model, outcome.name, None)) for outcome in rollout.outcomes
        }
        return cls(model, rollout.sticky_header is not None, outcomes)


class Checks:
    """The documents of one snapshot.

    Args:
        rollouts: by public name.
    """

    def __init__(self, rollouts: Mapping[str, ServedRollout]) -> None:
        self._by_name = {model: _Document.of(served.rollout) for model, served in rollouts.items()}
        self._by_id = {name_id(model): document for model, document in self._by_name.items()}

    def of(self, told: Told, keys: Mapping[int, ReceiptKey], at: float) -> Checked:
        """Whether it is taken.

        Args:
            told: as a client told it.
            keys: by id, all that receipts may be of.
            at: when it was told, seconds since 1970.
        """
        if not told.receipt:
            return _checked(told, self._by_name.get(told.model), at, None)
        try:
            rollout, arrived, drawn = read_draw(told.receipt, keys)
        except UnknownKey as unknown:
            return Checked("", "", "receipt", unknown.arrived)
        except InvalidInput:
            return Checked("", "", "receipt")
        return _checked(told, self._by_id.get(rollout), at, (arrived, drawn))


_Draw = tuple[float, Role | None]
"""When an answer's request arrived, and whom the draw chose."""


def _checked(told: Told, document: _Document | None, at: float, draw: _Draw | None) -> Checked:
    if document is None:
        return Checked("", "", "rollout")
    expected = document.outcomes.get(told.name)
    if expected is None:
        return Checked(document.model, "", "outcome")
    outcome, taken = expected
    if draw is None:
        reason = _reason_of_user(told, outcome, at, sticky=document.sticky)
    else:
        reason = _reason(told, outcome, at, draw)
    return taken if reason is None else Checked(document.model, outcome.name, reason)


def _reason(told: Told, outcome: Outcome, at: float, draw: _Draw) -> Reason | None:
    """Why an outcome of the document is left out.

    A label is taken also where nobody was drawn: what is mirrored is scored whoever answered.
    """
    arrived, drawn = draw
    found = refusal(outcome, told.value, arrived, at)
    return found or (None if outcome.kind == "label" or drawn is not None else "not_drawn")


def _reason_of_user(told: Told, outcome: Outcome, at: float, *, sticky: bool) -> Reason | None:
    assert told.time is not None  # `each_of` asks for it
    if outcome.kind == "label":
        return "receipt"  # it is the truth of one answer, not of a user
    if not sticky or not told.key.strip(" \t"):  # as routers read the header
        return "ambiguous"
    return refusal(outcome, told.value, told.time, at)
