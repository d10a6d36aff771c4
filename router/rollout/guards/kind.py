"""What the document knows of a kind of guard. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.rollout.kinds import Fragment
from router.rollout.table import Section
from router.rollout.values import Guard
from serving.document import Node


@dataclass(frozen=True, slots=True)
class GuardKind:
    """One kind of guard, read, written and described.

    Args:
        key: what it stands under in `guards`; empty for any name that no other kind has.
        read: the guards of a name and what stands under it; refused with `DocumentError` when not understood.
        write: by the class of its values what enters one into the mapping `guards`, of which it was read.
        sections: of the table of fields.
        schema: what JSON Schema says of what stands under the key.
        told_by: of kinds with free names, the key by which they are told apart.
    """

    key: str
    read: Callable[[str, Node], Sequence[Guard]]
    write: Mapping[type, Callable[[Any, dict[str, Any]], None]]
    sections: Sequence[Section]
    schema: Fragment
    told_by: str = ""
