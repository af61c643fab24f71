"""Files: the three formats, the place in every complaint, and input made to hurt."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidConfig, InvalidResource, MeshError
from mesh.model import Endpoint, Protocol, RetryPolicy, Service
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.resource.files import MAX_BYTES, load_documents, parse_documents

YAML = """\
services:
  - name: cart
    protocol: grpc
    retry:
      max_attempts: 4
      codes:
        - UNAVAILABLE
  - name: stock
    protocol: tcp
endpoints:
  - {service: cart, name: cart-0, host: 127.0.0.1, port: 5001, metadata: {a.b: "1"}}
---
# the same in the long form
kind: Endpoint
service: cart
name: cart-1
host: ::1
port: 80
"""
VALUES = [Service("cart", retry=RetryPolicy(max_attempts=4)), Service("stock", Protocol.TCP),
          Endpoint("cart", "cart-0", "127.0.0.1", 5001, metadata=(("a.b", "1"),)),
          Endpoint("cart", "cart-1", "::1", 80)]


def complaint(data: bytes, name: str) -> str:
    """What a file is refused with; its name where it isn't."""
    try:
        return name if parse_documents(data, name) else "neither read nor refused"
    except MeshError as error:
        return str(error)


def test_yaml():
    assert parse_documents(YAML.encode(), "shop.yaml") == VALUES
    assert parse_documents(b"\xef\xbb\xbf" + YAML.replace("\n", "\r\n").encode(), "shop") == VALUES


def test_json():
    text = """{"services": [{"name": "cart", "retry": {"max_attempts": 4}},
                            {"name": "stock", "protocol": "PROTOCOL_TCP"}]}"""
    assert parse_documents(text.encode(), "shop.JSON") == VALUES[:2]


def test_toml():
    text = '[[services]]\nname = "cart"\nretry.max_attempts = 4\n[[services]]\nname = "stock"\nprotocol = "tcp"\n'
    assert parse_documents(text.encode(), "shop.toml") == VALUES[:2]


def test_load(tmp_path: Path):
    path = tmp_path / "shop.yaml"
    path.write_text(YAML)
    assert load_documents(path) == load_documents(str(path)) == VALUES


def test_anchors_work():
    text = "services:\n- {name: a, retry: &r {max_attempts: 4}}\n- {name: b, retry: *r}\n"
    assert [service.retry.max_attempts for service in parse_documents(text.encode(), "x.yaml")] == [4, 4]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("max_attempts: 4", "max_attempts: 99", "shop.yaml:5: services[0].retry.max_attempts: 99 is outside 1..10"),
    ("max_attempts: 4", "max_attempt: 4",
     "shop.yaml:5: services[0].retry.max_attempt: unknown field; did you mean max_attempts?"),
    ("- UNAVAILABLE", "- OK", "shop.yaml:6: services[0].retry.codes: 'OK' is not a gRPC status"),
    ("- UNAVAILABLE", "- 14", "shop.yaml:7: services[0].retry.codes[0]: expected text, not 14"),
    ("name: stock", "name: cart",
     "shop.yaml:8: services[1]: service/cart is there already, at shop.yaml:2: services[0]"),
    ("name: cart-1", "name: cart-0",
     "shop.yaml:14: endpoint/cart/cart-0 is there already, at shop.yaml:11: endpoints[0]"),
    ("  - name: stock\n    protocol: tcp", "  - protocol: tcp", "shop.yaml:8: services[1].name: is missing"),
    ("port: 80", "port: 0", "shop.yaml:18: port: 0 is outside 1..65,535"),
    ("port: 80", "", "shop.yaml:14: port: is missing"),
    ("kind: Endpoint", "kind: Endpont", "shop.yaml:14: kind: 'Endpont' is neither Service nor Endpoint"),
    ('"1"', "1", "shop.yaml:11: endpoints[0].metadata['a.b']: expected text, not 1; put it in quotes"),
    ('"1"', "x" * 257, "shop.yaml:11: endpoints[0].metadata['a.b']: 257 bytes, at most 256"),
    ("host: ::1", "host: 12:30", "shop.yaml:17: host: expected text, not 750; put it in quotes"),
    ("name: stock", "name: 2024-01-01", "shop.yaml:8: services[1].name: expected text, not datetime.date(2024, 1, 1)"),
    ("services:\n", "services: 7\nservice:\n", "shop.yaml:2: service: unknown field; did you mean services?"),
])
def test_what_breaks_a_rule_is_refused_at_its_line(old: str, new: str, message: str):
    assert old in YAML
    with pytest.raises(InvalidResource) as caught:
        parse_documents(YAML.replace(old, new, 1).encode(), "shop.yaml")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("text", "name", "message"), [
    ("a: [1", "x.yaml", "x.yaml:2: not YAML: "),
    ("a: 1\na: 2", "x.yaml", "x.yaml:2: the key 'a' is given twice in one mapping"),
    ("? [a]\n: 1", "x.yaml", "x.yaml:1: a key must be a plain word"),
    ("a: 2024-99-99", "x.yaml", "x.yaml:1: '2024-99-99' can't be read; put it in quotes"),
    ("a: 0x" + "f" * 20_000, "x.yaml", "x.yaml:1: '0xffffffff"),
    ("a: !!python/object/apply:os.system [x]", "x.yaml", "x.yaml:1: "),
    ("a: !!python/name:os.system x", "x.yaml", "x.yaml:1: not YAML: could not determine a constructor"),
    ("a: *b", "x.yaml", "x.yaml:1: not YAML: found undefined alias"),
    ("\0", "x.yaml", "x.yaml: not YAML: "),
    ("{", "x.json", "x.json:1: not JSON: "),
    ('{"a": 1, "a": 2}', "x.json", "x.json: the key 'a' is given twice in one object"),
    ("a =", "x.toml", "x.toml: not TOML: "),
    ("a = 1\na = 2", "x.toml", "x.toml: not TOML: "),
])
def test_what_is_no_such_file_is_refused(text: str, name: str, message: str):
    with pytest.raises(MeshError) as caught:
        parse_documents(text.encode(), name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.json", "x.toml"])
def test_json_and_toml_name_file_and_path(name: str):
    text = {"x.json": '{"services": [{"name": "A"}]}', "x.toml": 'services = [{name = "A"}]'}[name]
    with pytest.raises(InvalidResource, match=rf"^{name}: services\[0\]\.name: 'A' is not a name"):
        parse_documents(text.encode(), name)


@pytest.mark.parametrize("text", ["", "# nothing", "---\n---\n", "services: []", "null"])
def test_an_empty_file_is_refused(text: str):
    with pytest.raises(InvalidResource, match=r"^x\.yaml: holds no resource$"):
        parse_documents(text.encode(), "x.yaml")


def test_unreadable(tmp_path: Path):
    with pytest.raises(InvalidConfig, match="No such file"):
        load_documents(tmp_path / "none.yaml")
    with pytest.raises(InvalidConfig, match="directory"):
        load_documents(tmp_path)
    (tmp_path / "latin1.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(InvalidConfig, match="not UTF-8 at byte 3"):
        load_documents(tmp_path / "latin1.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidConfig, match="larger than 4,194,304 bytes"):
        load_documents(tmp_path / "big.yaml")


@pytest.mark.parametrize("depth", [65, 1000, 100_000])
@pytest.mark.parametrize(("name", "opening", "closing"), [
    ("x.yaml", "[", "]"), ("x.yaml", "{a: ", "}"), ("x.yaml", "- ", ""), ("x.json", "[", "]"), ("x.json", '{"a":', "}"),
    ("x.toml", "[", "]")])
def test_deep_nesting_ends_in_a_message(name: str, opening: str, closing: str, depth: int):
    """libyaml's composer would overrun the C stack at this depth, and take the process with it."""
    text = opening * depth + "1" + closing * depth
    with pytest.raises(MeshError):
        parse_documents((f"a = {text}" if name == "x.toml" else text).encode(), name)


def test_a_node_that_contains_itself_is_refused():
    with pytest.raises(InvalidConfig, match="nested too deeply"):
        parse_documents(b"a: &a [*a]", "x.yaml")


def test_a_billion_laughs_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mesh.resource.files.MAX_NODES", 10_000)
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(InvalidConfig, match=r"^x\.yaml:\d+: aliases make this larger than 10,000 nodes$"):
        parse_documents(text.encode(), "x.yaml")


@given(st.one_of(st.binary(max_size=60), st.text("[]{}:-,&*! \n'\"#ab1?|>%@", max_size=60).map(str.encode)),
       st.sampled_from(["x.yaml", "x.json", "x.toml"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str):
    assert complaint(data, name).startswith(name)


@given(st.integers(0, len(YAML)), st.integers(0, 12), st.text("[]{}:-,&*! \n'\"#ab1?|>%@", max_size=3))
def test_any_damage_to_a_file_is_read_or_refused(at: int, cut: int, insert: str):
    assert complaint((YAML[:at] + insert + YAML[at + cut:]).encode(), "x.yaml").startswith("x.yaml")


POLICY = "class Mine:\n    def pick(self, candidates, request, now, rng):\n        return None\n"
OWN = "services:\n  - name: cart\n    balance:\n      custom: {class: Mine, file: mine.py, mode: shadow}\n"


@pytest.mark.parametrize(("name", "text"), [
    ("shop.yaml", OWN),
    ("shop.yaml", "kind: Service\nname: cart\nbalance: {custom: {class: Mine, file: mine.py, mode: shadow}}\n"),
    ("shop.json", '{"services": [{"name": "cart", "balance": {"custom": {"class": "Mine", "file": "mine.py", '
                  '"mode": "shadow"}}}]}')])
def test_the_source_of_a_policy_may_stand_in_a_file_beside(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    (tmp_path / "mine.py").write_text(POLICY)
    (service,) = load_documents(tmp_path / name)
    assert isinstance(service, Service)
    assert service.balance.custom == CustomPolicy("Mine", POLICY, CustomMode.SHADOW)
    with pytest.raises(InvalidResource, match=r"custom\.file: unknown field"):
        parse_documents(text.encode(), name)  # who is asked over a wire reads no files


@pytest.mark.parametrize(("old", "new", "message"), [
    ("mine.py", "none.py", "shop.yaml:4: services[0].balance.custom.file: none.py: No such file or directory"),
    ("mine.py", "binary", "shop.yaml:4: services[0].balance.custom.file: binary: not UTF-8 at byte 0"),
    ("mine.py", "7", "shop.yaml:4: services[0].balance.custom.file: expected the name of a file"),
    ("mine.py", "mine.py, source: x",
     "shop.yaml:4: services[0].balance.custom.file: source is given as well: one or the other"),
    ("Mine", "Other", "shop.yaml:4: services[0].balance.custom.source: line 1: has no class Other, only Mine"),
    ("shadow", "live, time_limit: 1s", "shop.yaml:4: services[0].balance.custom.time_limit: 1.0 is outside 1e-05..0.1"),
    ("shadow", "loud", "shop.yaml:4: services[0].balance.custom.mode: 'loud' is none of off, shadow, live")])
def test_a_policy_that_can_not_be_had_is_refused_at_its_line(tmp_path: Path, old: str, new: str, message: str):
    (tmp_path / "shop.yaml").write_text(OWN.replace(old, new))
    (tmp_path / "mine.py").write_text(POLICY)
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(InvalidResource) as caught:
        load_documents(tmp_path / "shop.yaml")
    assert str(caught.value).removeprefix(f"{tmp_path}/") == message
