from __future__ import annotations

import random

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.errors import HeaderListTooLarge, HpackError, WireError
from mesh.wire.h1_write import form_of
from mesh.wire.hpack import Block, Decoder, Encoder, Head, literal, make_head

Fields = list[tuple[bytes, bytes]]
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST: Fields = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.Cart/Get"),
    (b":authority", b"cart"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


def decode(octets: bytes, decoder: Decoder | None = None) -> Block:
    """Decode the block where octets stand on both sides of it."""
    buf = bytearray(b"\xff\xff" + octets + b"\x82\x82")
    return (decoder or Decoder()).decode(buf, 2, 2 + len(octets))


def pairs(head: Head) -> Fields:
    return [(field.name, field.value) for field in head.fields]


# -- RFC 7541, appendix C: blocks in sequence, with the fields each means.

C3 = [
    (":method GET", ":scheme http", ":path /", ":authority www.example.com"),
    (":method GET", ":scheme http", ":path /", ":authority www.example.com", "cache-control no-cache"),
    (":method GET", ":scheme https", ":path /index.html", ":authority www.example.com", "custom-key custom-value"),
]
C5 = [
    (":status 302", "cache-control private", "date Mon, 21 Oct 2013 20:13:21 GMT", "location https://www.example.com"),
    (":status 307", "cache-control private", "date Mon, 21 Oct 2013 20:13:21 GMT", "location https://www.example.com"),
    (
        ":status 200",
        "cache-control private",
        "date Mon, 21 Oct 2013 20:13:22 GMT",
        "location https://www.example.com",
        "content-encoding gzip",
        "set-cookie foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ),
]
EXAMPLES = {
    "C.2.1": (4096, ["400a637573746f6d2d6b65790d637573746f6d2d686561646572"], [("custom-key custom-header",)], 55),
    "C.2.2": (4096, ["040c2f73616d706c652f70617468"], [(":path /sample/path",)], 0),
    "C.2.3": (4096, ["100870617373776f726406736563726574"], [("password secret",)], 0),
    "C.2.4": (4096, ["82"], [(":method GET",)], 0),
    "C.3": (
        4096,
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        C3,
        164,
    ),
    "C.4": (
        4096,
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
        C3,
        164,
    ),
    "C.5": (
        256,
        [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768"
            "747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b"
            "48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        ],
        C5,
        215,
    ),
    "C.6": (
        256,
        [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82"
            "ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
            "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ],
        C5,
        215,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_rfc(name: str) -> None:
    table, blocks, meanings, size = EXAMPLES[name]
    for _ in range(3):  # the caches are warm from the second time on
        decoder = Decoder(table)
        for octets, meaning in zip(blocks, meanings, strict=True):
            fields = [tuple(part.encode().split(b" ", 1)) for part in meaning]
            assert pairs(decode(bytes.fromhex(octets), decoder).head) == fields
        assert decoder.size == size


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_block_cut_anywhere_is_an_error_or_a_shorter_list(name: str) -> None:
    table, blocks, meanings, _ = EXAMPLES[name]
    octets = bytes.fromhex(blocks[0])
    fields = [tuple(part.encode().split(b" ", 1)) for part in meanings[0]]
    for n in range(len(octets)):
        try:
            shorter = pairs(decode(octets[:n], Decoder(table)).head)
        except HpackError:
            continue
        assert shorter == fields[: len(shorter)]
        assert len(shorter) < len(fields)


# -- Sections are shared, per-call fields are not part of them.


def test_equal_sections_are_one_object_in_every_encoding_of_the_same_strings() -> None:
    head = make_head(REQUEST)
    octets = Encoder().encode(head)
    for _ in range(4):  # what repeats is kept
        decode(octets)
        decode(literal(b"grpc-timeout", b"2S"))
    heads = {decode(octets).head for _ in range(4)}
    heads |= {
        decode(octets + literal(b"traceparent", b"%d" % i) + literal(b"grpc-timeout", b"1S")).head for i in range(4)
    }
    heads.add(decode(octets + literal(b"tracestate", b"a=1")).head)
    heads.add(decode(literal(b"grpc-timeout", b"2S") + b"").head)
    assert len(heads) == 2
    assert pairs(decode(octets).head) == REQUEST


def test_a_section_survives_a_changing_dynamic_table() -> None:
    peer, decoder = hpack.Encoder(), Decoder()
    heads = set()
    for i in range(300):
        fields = [*REQUEST, (b"traceparent", PARENT[:-6] + b"%03d-01" % i), (b"grpc-timeout", b"%dm" % i)]
        block = decode(peer.encode(fields), decoder)
        assert block.traceparent == fields[-2][1]
        assert block.grpc_timeout == fields[-1][1]
        if i >= 150:  # each turn of the table brings every literal once more
            heads.add(block.head)
    assert len(heads) == 1


@pytest.mark.parametrize("place", range(len(REQUEST) + 1))
@pytest.mark.parametrize("first", [b"\x00", b"\x10", b"\x40"])
def test_per_call_fields_are_cut_out_wherever_they_stand(place: int, first: bytes) -> None:
    def one(name: bytes, value: bytes) -> bytes:
        return first + literal(name, value)[1:]

    parts = [Encoder().encode(make_head([field])) for field in REQUEST]
    parts.insert(place, one(b"traceparent", PARENT) + one(b"tracestate", b"a=1") + one(b"grpc-timeout", b"1S"))
    for _ in range(3):
        block = decode(b"".join(parts))
        assert pairs(block.head) == REQUEST
        assert (block.traceparent, block.tracestate, block.grpc_timeout) == (PARENT, b"a=1", b"1S")


def test_repeated_per_call_fields() -> None:
    octets = literal(b"traceparent", PARENT) * 2 + literal(b"tracestate", b"a=1") + literal(b"tracestate", b"b=2")
    block = decode(octets)
    assert block.traceparent == b"", "two parents are none"
    assert block.tracestate == b"a=1,b=2"


def test_an_illegal_octet_in_a_per_call_field_does_not_stick_to_the_section() -> None:
    octets = Encoder().encode(make_head(REQUEST))
    good = decode(octets).head
    for _ in range(3):
        bad = decode(octets + literal(b"tracestate", b"a\r\nb")).head
        assert bad is not good
        assert bad.request_problem == bad.trailers_problem == "illegal octet in a field value"
        assert pairs(bad) == REQUEST
    assert good.request_problem is None
    assert decode(octets).head is good


def test_what_was_made_of_a_section_stays_with_it() -> None:
    octets = Encoder().encode(make_head([*REQUEST, (b"x-form", b"1")]))
    decode(octets)
    form = form_of(decode(octets).head)
    assert form_of(decode(octets + literal(b"traceparent", PARENT)).head) is form


def test_without() -> None:
    head = make_head(REQUEST)
    names = frozenset((b"te", b"x"))
    less = head.without(names)
    assert pairs(less) == [field for field in REQUEST if field[0] != b"te"]
    assert head.without(names) is less
    assert head.without(frozenset((b"x",))) is head
    assert less.path == b"/shop.Cart/Get"


# -- What is pulled out of a section, and what is wrong with it.


def test_attributes_of_a_request() -> None:
    head = make_head([*REQUEST, (b"idempotency-key", b"k"), (b"content-length", b"12")])
    assert (head.method, head.scheme, head.path, head.authority) == (b"POST", b"http", b"/shop.Cart/Get", b"cart")
    assert head.is_grpc
    assert head.idempotency_key
    assert head.content_length == 12
    assert (head.status, head.grpc_status, head.grpc_message, head.protocol) == (0, -1, None, None)
    assert head.size == sum(32 + len(name) + len(value) for name, value in pairs(head))


def test_attributes_of_a_response() -> None:
    head = make_head(
        [
            (b":status", b"200"),
            (b"grpc-status", b"14"),
            (b"grpc-message", b"no"),
            (b"mesh-reason", b"draining"),
            (b"mesh-not-delivered", b"1"),
        ]
    )
    assert (head.status, head.grpc_status, head.grpc_message) == (200, 14, b"no")
    assert (head.reason, head.not_delivered, head.is_grpc, head.content_length) == (b"draining", True, False, -1)


@pytest.mark.parametrize(
    ("value", "is_grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;x=y", True),
        (b"application/grpc-web", False),
        (b"application/grpcx", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_is_grpc(value: bytes, is_grpc: bool) -> None:
    assert make_head([(b"content-type", value)]).is_grpc is is_grpc


@pytest.mark.parametrize(
    ("value", "status"), [(b"0", 0), (b"16", 16), (b"17", 2), (b"x", 2), (b"", 2), (b"-1", 2), (b"100", 2)]
)
def test_grpc_status(value: bytes, status: int) -> None:
    assert make_head([(b"grpc-status", value)]).grpc_status == status


M, S, P, A = REQUEST[:4]
CONNECT, STATUS = (b":method", b"CONNECT"), (b":status", b"200")


@pytest.mark.parametrize(
    "fields",
    [
        [M, S, P, A],
        [P, A, S, M],
        [M, S, P],
        [M, S, P, A, (b"host", b"Cart")],
        [M, S, P, (b"host", b"x")],
        [(b":method", b"OPTIONS"), S, (b":path", b"*"), A],
        [CONNECT, A],
        [CONNECT, (b":protocol", b"websocket"), S, P, A],
        [*REQUEST, (b"cookie", b"a"), (b"cookie", b"b")],
    ],
)
def test_good_requests(fields: Fields) -> None:
    head = make_head(fields)
    assert head.request_problem is None
    assert head.response_problem is not None
    assert head.trailers_problem is not None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([], "no :method"),
        ([S, P, A], "no :method"),
        ([M, P, A], "no :scheme"),
        ([M, S, A], "no :path"),
        ([M, M, S, P], "pseudo-header field twice"),
        ([M, S, S, P], "pseudo-header field twice"),
        ([M, S, P, P], "pseudo-header field twice"),
        ([M, S, P, A, A], "pseudo-header field twice"),
        ([M, S, (b"a", b"b"), P], "pseudo-header field after a regular one"),
        ([M, S, P, STATUS], ":status in a request"),
        ([M, S, P, (b":x", b"1")], "unknown pseudo-header field"),
        ([M, S, (b":path", b"")], "empty :path"),
        ([M, S, (b":path", b"*")], ":path * without OPTIONS"),
        ([CONNECT, A, S], "CONNECT with :scheme or :path"),
        ([CONNECT, A, P], "CONNECT with :scheme or :path"),
        ([CONNECT], "CONNECT without :authority"),
        ([M, (b":protocol", b"x"), S, P], ":protocol without CONNECT"),
        ([CONNECT, (b":protocol", b"x"), A], "no :scheme"),
        ([*REQUEST, (b"host", b"other")], "host differs from :authority"),
        ([*REQUEST, (b"host", b"cart"), (b"host", b"cart")], "host twice"),
        ([*REQUEST, (b"content-length", b"1"), (b"content-length", b"1")], "content-length twice"),
        ([*REQUEST, (b"X", b"1")], "upper-case field name"),
        ([*REQUEST, (b"a", b"\0")], "illegal octet in a field value"),
        ([*REQUEST, (b"connection", b"close")], "connection-specific field"),
        ([M, S, P, A, (b"te", b"gzip")], "te is not trailers"),
    ],
)
def test_bad_requests(fields: Fields, problem: str) -> None:
    assert make_head(fields).request_problem == problem


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("name", [b"traceparent", b"tracestate", b"grpc-timeout"])
def test_a_pseudo_header_field_after_one_that_differs_per_call(name: bytes, huffman: bool) -> None:
    """... entered into the table, then taken from there, or not."""
    problem, encoder, decoder = "pseudo-header field after a regular one", hpack.Encoder(), Decoder()
    for sensitive in (False, False, True, True):
        value = hpack.NeverIndexedHeaderTuple(name, b"1") if sensitive else (name, b"1")
        response = decode(encoder.encode([value, STATUS], huffman=huffman), decoder).head
        assert response.response_problem == problem
        request = decode(encoder.encode([M, S, A, value, P], huffman=huffman), decoder).head
        assert request.request_problem == problem
        assert decode(encoder.encode([M, S, A, P, value], huffman=huffman), decoder).head.request_problem is None
    plain = literal(b":method", b"POST") + literal(b":scheme", b"http") + literal(name, b"1") + literal(b":path", b"/")
    for _ in range(3):
        assert decode(plain).head.request_problem == problem


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([STATUS], None),
        ([(b":status", b"103"), (b"link", b"x")], None),
        ([], "no :status"),
        ([(b"a", b"b")], "no :status"),
        ([STATUS, STATUS], "pseudo-header field twice"),
        ([STATUS, P], "not exactly :status"),
        ([M, S, P], "not exactly :status"),
        ([(b":status", b"20")], ":status is not a three-digit number"),
        ([(b":status", b"101")], ":status 101 has no place in HTTP/2"),
        ([STATUS, (b"upgrade", b"h2c")], "connection-specific field"),
        ([(b"a", b"b"), STATUS], "pseudo-header field after a regular one"),
    ],
)
def test_responses(fields: Fields, problem: str | None) -> None:
    assert make_head(fields).response_problem == problem


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([], None),
        ([(b"grpc-status", b"0")], None),
        ([STATUS], "pseudo-header field in trailers"),
        ([(b"Grpc-Status", b"0")], "upper-case field name"),
        ([P], "pseudo-header field in trailers"),
    ],
)
def test_trailers(fields: Fields, problem: str | None) -> None:
    assert make_head(fields).trailers_problem == problem


# -- The decoder's errors and bounds.


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("80", "index 0"),
        ("be", "index past the table"),
        ("ff00", "index past the table"),
        ("40", "no name"),
        ("4001", "name cut off"),
        ("400161", "no value"),
        ("40016105", "value cut off"),
        ("7e0161", "name index past the table"),
        ("823f", "size update after a field"),
        ("3fe21f", "size over the limit"),
        ("3fffffffff7f", "integer too long"),
        ("ff", "integer cut off"),
        ("ff80", "integer cut off"),
        ("ffffffffffffff0f", "integer too long"),
        ("ffff80808000", "integer of five more octets"),
        ("000161ff8080808080808080", "length too long"),
        ("0081ff", "padding in a name"),
        ("00016181ff", "padding in a value"),
        ("00ff", "length cut off"),
    ],
)
def test_blocks_that_cannot_be_decoded(octets: str, why: str) -> None:
    with pytest.raises(HpackError):
        decode(bytes.fromhex(octets))


def test_table_size_updates() -> None:
    decoder = Decoder(4096)
    decode(bytes.fromhex("400a637573746f6d2d6b65790d637573746f6d2d686561646572"), decoder)
    assert pairs(decode(b"\xbe", decoder).head) == [(b"custom-key", b"custom-header")]
    decode(b"\x20\x3f\xe1\x1f", decoder)  # to nothing, and back to 4096: the entry is gone
    assert (decoder.size, decoder.max_size) == (0, 4096)
    with pytest.raises(HpackError):
        decode(b"\xbe", decoder)


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = Decoder(64)
    decode(b"\x40\x01a\x01b", decoder)
    assert decoder.entries == 1
    block = decode(b"\x40\x01a\x40" + b"b" * 64, decoder)
    assert block.head.fields[0].value == b"b" * 64
    assert (decoder.entries, decoder.size) == (0, 0)


def test_the_list_is_bounded_and_the_table_stays_in_step() -> None:
    peer, decoder = hpack.Encoder(), Decoder(4096, 1000)
    assert decode(peer.encode([(b"a", b"b" * 967)]), decoder).head.size == 1000
    with pytest.raises(HeaderListTooLarge):
        decode(peer.encode([(b"x-%d" % i, b"v" * 20) for i in range(40)]), decoder)
    assert pairs(decode(peer.encode([(b"x-39", b"v" * 20), (b"c", b"d")]), decoder).head) == [
        (b"x-39", b"v" * 20),
        (b"c", b"d"),
    ]
    with pytest.raises(HeaderListTooLarge):
        decode(literal(b"traceparent", b"x" * 990), decoder)


def test_a_memorised_block_is_measured_too() -> None:
    octets = Encoder().encode(make_head(REQUEST))
    for _ in range(3):
        decode(octets)
    with pytest.raises(HeaderListTooLarge):
        decode(octets, Decoder(4096, 100))


def test_many_fields() -> None:
    fields = [(b"x-%d" % i, b"%d" % i) for i in range(1000)]
    octets = Encoder().encode(make_head(fields))
    assert pairs(decode(octets).head) == fields
    assert pairs(decode(octets).head) == fields


def test_fields_are_bounded_and_the_table_stays_in_step() -> None:
    peer, decoder = hpack.Encoder(), Decoder(4096, 65_536, 10)
    fields = [(b"x-%d" % i, b"v") for i in range(10)]
    assert pairs(decode(peer.encode(fields), decoder).head) == fields
    for over in ([*fields, (b"y", b"w")], [*fields, (b"traceparent", b"x")], [(b"traceparent", b"x"), *fields]):
        with pytest.raises(HeaderListTooLarge):
            decode(peer.encode(over), decoder)
    assert pairs(decode(peer.encode([(b"y", b"w")]), decoder).head) == [(b"y", b"w")]
    octets = Encoder().encode(make_head(fields))
    for _ in range(3):
        decode(octets)
    with pytest.raises(HeaderListTooLarge):
        decode(octets, Decoder(4096, 65_536, 9))


@pytest.mark.parametrize("update", ["20", "3f45", "203f45", "3f00" + "3f45"])
def test_a_lowered_limit_is_followed_at_the_start_of_the_next_block(update: str) -> None:
    decoder = Decoder(4096)
    decode(b"\x40\x01a\x01b", decoder)
    decoder.set_limit(100)
    decode(bytes.fromhex(update) + b"\x82", decoder)
    decode(b"\x82", decoder)
    assert decoder.max_size == (0 if update == "20" else 100)


@pytest.mark.parametrize("octets", ["", "82", "8220", "be", "3f46", "20" + "3f46"])
def test_a_lowered_limit_that_is_not_followed_is_an_error(octets: str) -> None:
    decoder = Decoder(4096)
    decode(b"\x40\x01a\x01b", decoder)
    decoder.set_limit(100)
    with pytest.raises(HpackError):
        decode(bytes.fromhex(octets), decoder)


def test_a_raised_limit_may_be_used_and_need_not() -> None:
    decoder = Decoder(4096)
    decoder.set_limit(8192)
    decode(b"\x82", decoder)
    assert decoder.max_size == 4096
    decode(b"\x3f\xe1\x3f\x82", decoder)
    assert decoder.max_size == 8192
    decoder.set_limit(4096)
    with pytest.raises(HpackError):
        decode(b"\x82", decoder)


def test_a_block_outside_the_buffer_is_refused() -> None:
    for start, end in ((-1, 2), (0, 5), (3, 2)):
        with pytest.raises(IndexError):
            Decoder().decode(bytearray(4), start, end)


# -- The encoder.


def test_the_encoding_is_made_once_and_shared() -> None:
    head = make_head(REQUEST)
    assert Encoder().encode(head) is Encoder().encode(head)
    assert hpack.Decoder().decode(Encoder().encode(head), raw=True) == REQUEST


def test_a_smaller_table_is_acknowledged_once() -> None:
    head = make_head([(b":method", b"GET")])
    encoder = Encoder()
    encoder.set_max_table(8192)
    assert encoder.encode(head) == b"\x82"
    encoder.set_max_table(100)
    assert encoder.encode(head) == b"\x20\x82"
    assert encoder.encode(head) == b"\x82"
    peer = hpack.Decoder()
    peer.max_allowed_table_size = 100
    assert peer.decode(b"\x20\x82", raw=True) == [(b":method", b"GET")]


@pytest.mark.parametrize("n", [0, 1, 126, 127, 128, 5000])
def test_literals(n: int) -> None:
    octets = literal(b"tracestate", b"v" * n) + literal(b"content-type", b"w" * n)
    assert hpack.Decoder().decode(octets, raw=True) == [(b"tracestate", b"v" * n), (b"content-type", b"w" * n)]


def test_a_sensitive_field_is_passed_on_as_such() -> None:
    octets = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(b"authorization", b"secret")])
    again = Encoder().encode(decode(octets).head)
    field = hpack.Decoder().decode(again, raw=True)[0]
    assert isinstance(field, hpack.NeverIndexedHeaderTuple)


# -- Against another implementation, and against nobody's.

NAMES = st.sampled_from(
    [b":path", b":method", b"te", b"x-a", b"x-b", b"cookie", b"content-type", b"traceparent", b"grpc-timeout"]
)
VALUES = st.one_of(st.sampled_from([b"", b"GET", b"trailers", b"/", b"v" * 300]), st.binary(max_size=20))
LISTS = st.lists(st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8), min_size=1, max_size=6)
CALL = (b"traceparent", b"tracestate", b"grpc-timeout")


@settings(derandomize=True, max_examples=300, deadline=None)
@given(LISTS, st.booleans(), st.lists(st.sampled_from([0, 64, 200, 4096]), max_size=6))
def test_a_stream_of_blocks_of_another_encoder(
    lists: list[list[tuple[bytes, bytes, bool]]], huffman: bool, sizes: list[int]
) -> None:
    peer, decoder = hpack.Encoder(), Decoder()
    for i, fields in enumerate(lists):
        if i < len(sizes):
            peer.header_table_size = sizes[i]
        octets = peer.encode([(name, value, sensitive) for name, value, sensitive in fields], huffman=huffman)
        block = decode(octets, decoder)
        assert pairs(block.head) == [(name, value) for name, value, _ in fields if name not in CALL]
        timeouts = [value for name, value, _ in fields if name == b"grpc-timeout"]
        assert block.grpc_timeout == (timeouts[-1] if timeouts else None)
        assert decoder.size == peer.header_table._current_size


@settings(derandomize=True, max_examples=200, deadline=None)
@given(LISTS)
def test_our_blocks_are_understood(lists: list[list[tuple[bytes, bytes, bool]]]) -> None:
    peer, encoder = hpack.Decoder(), Encoder()
    for fields in lists:
        plain = [(name, value) for name, value, _ in fields]
        assert peer.decode(encoder.encode(make_head(plain)), raw=True) == plain


def test_garbage_is_refused_or_decoded_but_never_more() -> None:
    rng = random.Random(11)
    good = [bytes.fromhex(octets) for _, blocks, _, _ in EXAMPLES.values() for octets in blocks]
    decoder, peer = Decoder(), hpack.Decoder()
    agreed = 0
    for _ in range(6000):
        octets = bytearray(rng.choice(good)) if rng.random() < 0.7 else bytearray(rng.randbytes(rng.randrange(40)))
        for _ in range(rng.randrange(4)):
            if octets:
                octets[rng.randrange(len(octets))] = rng.randrange(256)
        try:
            expected = [(bytes(n), bytes(v)) for n, v in peer.decode(bytes(octets), raw=True)]
        except hpack.HPACKError:
            expected = None
        try:
            block = decode(bytes(octets), decoder)
        except WireError:
            decoder, peer = Decoder(), hpack.Decoder()
            continue
        if expected is None:  # the other is stricter in one thing: how long an integer may be written
            decoder, peer = Decoder(), hpack.Decoder()
            continue
        agreed += 1
        assert pairs(block.head) == [field for field in expected if field[0] not in CALL]
    assert agreed > 1000
