"""Who is to answer a call."""

from typing import NamedTuple

from router.answered import Role
from router.counting.slices import Slice
from router.sides.side import Side


class Choice(NamedTuple):
    """Who is to answer a call.

    Args:
        candidate: the candidate, or else stable.
        evidence: the slice that its outcome enters; None leaves it out.
        key: the hash of the sticky key; 0 for none.
        drawn: whom the draw chose; None where nothing was drawn.
        forced: whether the client named who is to answer.
        anew: as of `router.counting.receipt.Receipt`.
        number: of the candidate that was drawn, or else that is to answer; of no meaning where neither was.
    """

    candidate: Side | None
    evidence: Slice | None
    key: int
    drawn: Role | None = None
    forced: bool = False
    anew: bool = True
    number: int = 1
