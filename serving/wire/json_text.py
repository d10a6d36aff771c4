"""JSON as clients send it: strict, but for the numbers NaN, Infinity and -Infinity. Pure.

Law: what is taken is what orjson takes, and those three literals where a value may stand, which JSON does not
have and Python's json and tritonclient write. With them or without, a number that overflows to infinity, a
lone surrogate, bytes that are no UTF-8 and nesting deeper than 1,024 are refused. Text without them costs
nothing.
"""

import json
from typing import Any

import orjson

Text = bytes | bytearray | memoryview


def parse(text: Text) -> Any:
    """The value that a text is.

    Raises:
        ValueError: it is no JSON; the text says where.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        whole = bytes(text)
        if b"NaN" not in whole and b"Infinity" not in whole:
            raise
    # Python's json takes the literals, and more than orjson does otherwise. Hence orjson sees the text first,
    # with values as long in their place. What that makes of texts that contain them is not looked at.
    plain = whole.replace(b"NaN", b"0  ").replace(b"Infinity", b"1".ljust(8))
    orjson.loads(plain)
    try:
        return json.loads(whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
