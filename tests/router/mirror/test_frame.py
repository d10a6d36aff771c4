"""A frame comes to what was offered, whoever answered and however."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answered import Answered
from router.mirror import frame as frames
from router.mirror.frame import Frame, packed, unpacked
from serving.errors import InvalidInput, ModelFailed
from serving.wire.codec import WIRES
from serving.wire.message import JSON_LENGTH_HEADER, OIP_HTTP, Call, Reply
from serving.wire.request_id import request_id
from serving.wire.trace_context import TRACEPARENT

ROLES = st.sampled_from(["stable", "canary"])
SECONDS = st.floats(0, 1e9)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        TRACEPARENT: st.binary(max_size=300),
        b"x-request-id": st.binary(max_size=300) | st.just(b"a-1"),
        JSON_LENGTH_HEADER: st.sampled_from([b"0", b"1", b"999", b"no"]),
    },
)
ENDS = st.one_of(
    st.builds(
        Reply,
        st.just(200),
        st.binary(max_size=20),
        st.none() | st.integers(0, 20),
        shared=st.none() | st.booleans(),
    ),
    st.builds(ModelFailed, st.just("why"), st.just("reason")),
    st.builds(InvalidInput, st.just("why")),
    st.builds(GeneratorExit),
)
OFFERED = st.builds(
    Answered,
    st.builds(Call, HEADERS, st.binary(max_size=20), SECONDS),
    ENDS,
    ROLES,
    st.text(max_size=300).filter(str.isprintable),
    ROLES | st.none(),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    SECONDS,
    st.binary(max_size=72),
    st.booleans(),
    st.booleans(),
)


@given(st.text(max_size=100).filter(str.isprintable), OFFERED, st.booleans(), st.binary(max_size=5))
def test_a_frame_comes_back_as_it_was_offered(model, answered, timed, before):
    call, outcome = answered.call, answered.outcome
    data = before + packed(model.encode(), answered, timed=timed)
    frame, end = unpacked(memoryview(data), len(before))
    replied = isinstance(outcome, Reply) and not timed
    json_length = call.headers.get(JSON_LENGTH_HEADER)
    valid = json_length is not None and json_length.isdigit() and int(json_length) <= len(call.body)
    assert end == len(data)
    assert frame == Frame(
        model,
        answered.stage,
        answered.key,
        call.body,
        int(json_length) if valid else None,
        outcome.body if replied else b"",
        outcome.json_length if replied else None,
        call.headers.get(TRACEPARENT, b"")[:255],
        timed,
        answered.role,
        answered.target,
        answered.drawn,
        499 if isinstance(outcome, GeneratorExit) else outcome.status,
        call.arrived,
        answered.ended - call.arrived,
        request_id(call.headers),
        call.wire,
        answered.forced,
        answered.refused,
        receipt=answered.receipt,
        shared=outcome.shared if isinstance(outcome, Reply) else None,
    )


@given(OFFERED, st.binary(min_size=1, max_size=20))
def test_of_a_record_what_its_sink_says_and_the_failure_travel_too(answered, said):
    frame, _ = unpacked(memoryview(packed(b"m", answered, said=said)), 0)
    assert (frame.said, frame.receipt) == (said, answered.receipt)
    match answered.outcome:
        case Reply():
            assert frame.error == ""
        case GeneratorExit():
            assert frame.error == "the client left"
        case error:
            assert frame.error == f"{error.kind}: why"


@given(OFFERED, st.data())
def test_part_of_a_frame_is_none(answered, data):
    whole = packed(b"m", answered, timed=False)
    assert unpacked(memoryview(whole)[: data.draw(st.integers(0, len(whole) - 1))], 0) is None


def test_what_is_too_large_does_not_travel(monkeypatch):
    monkeypatch.setattr(frames, "MAX_BYTES", 10)
    end = Reply(200, b"")
    fits, large = (
        Answered(Call({}, b"x" * length, 0.0), end, "stable", "", None, 1, 0, 0.0) for length in (9, 10)
    )
    assert packed(b"m", fits, timed=False) is not None
    assert packed(b"m", large, timed=False) is None


def test_a_frame_names_its_wire_and_one_that_is_not_known_is_refused(monkeypatch):
    call = Call({}, b"body", 0.0, wire="other")
    answered = Answered(call, Reply(200, b""), "stable", "", None, 1, 0, 0.0)
    monkeypatch.setitem(WIRES, "other", WIRES[OIP_HTTP]._replace(number=200))
    data = memoryview(packed(b"m", answered, timed=False))
    frame, _ = unpacked(data, 0)
    assert frame.wire == "other"
    monkeypatch.delitem(WIRES, "other")
    with pytest.raises(InvalidInput, match="a frame of wire 200, which is not known"):
        unpacked(data, 0)
