"""Contracts only grow: today's have everything that the committed baseline has, as it was."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from generate import BASELINE, ROOT
from tests.protos.elements import compiled, described
from tests.protos.only_add import changes

PATH = "shop/v1/orders.proto"
BEFORE = """
syntax = "proto3";
package shop.v1;
option java_package = "com.example.shop.v1";
service OrderService {
  rpc PlaceOrder(Order) returns (stream Receipt);
  rpc CancelOrder(Order) returns (Receipt);
}
message Order {
  int32 amount = 1;
  oneof paid_by {
    string card = 2;
    string account = 3;
  }
  OrderState state = 4;
  optional int32 days = 5;
  map<string, int32> extras = 6;
  message Line {}
}
message Receipt {}
message Note {}
enum OrderState {
  ORDER_STATE_UNSPECIFIED = 0;
  ORDER_STATE_SENT = 1;
}
"""

BREAKING = [
    ("message Note {}", "", ("message shop.v1.Note is gone",)),
    ("message Line {}", "", ("message shop.v1.Order.Line is gone",)),
    ("int32 amount = 1;", "", ("field shop.v1.Order.amount is gone",)),
    ("int32 amount = 1;", "reserved 1;", ("field shop.v1.Order.amount is gone",)),
    ("int32 amount = 1;", "int32 count = 1;", ("field shop.v1.Order.amount is gone",)),
    ("ORDER_STATE_SENT = 1;", "", ("enum value shop.v1.OrderState.ORDER_STATE_SENT is gone",)),
    ("OrderState", "State", ("enum shop.v1.OrderState is gone", "field shop.v1.Order.state: type name was")),
    ("rpc CancelOrder(Order) returns (Receipt);", "", ("rpc shop.v1.OrderService.CancelOrder is gone",)),
    ("service OrderService", "service ShopService", ("service shop.v1.OrderService is gone",)),
    ("amount = 1;", "amount = 7;", ("field shop.v1.Order.amount: number was 1, is 7",)),
    ("SENT = 1;", "SENT = 2;", ("SENT: number was 1, is 2",)),
    ("int32 amount", "int64 amount", ("field shop.v1.Order.amount: type was TYPE_INT32, is TYPE_INT64",)),
    ("OrderState state = 4;", "Line state = 4;", ("state: type was TYPE_ENUM", "state: type name was")),
    ("map<string, int32>", "map<string, int64>", ("ExtrasEntry.value: type was TYPE_INT32, is TYPE_INT64",)),
    ("int32 amount", "repeated int32 amount", ("amount: label was LABEL_OPTIONAL, is LABEL_REPEATED",)),
    ("amount = 1;", 'amount = 1 [json_name = "n"];', ("amount: json name was amount, is n",)),
    ("string account = 3;\n  }", "}\n  string account = 3;", ("account: oneof was paid_by, is None",)),
    (
        "int32 amount = 1;\n  oneof paid_by {",
        "oneof paid_by {\n  int32 amount = 1;",
        ("amount: oneof was None",),
    ),
    ("paid_by", "payer", ("oneof shop.v1.Order.paid_by is gone", "account: oneof was paid_by, is payer")),
    ("optional int32", "int32", ("oneof shop.v1.Order._days is gone", "days: oneof was _days, is None")),
    ("CancelOrder(Order)", "CancelOrder(Receipt)", ("CancelOrder: request was .shop.v1.Order",)),
    (
        "CancelOrder(Order) returns (Receipt)",
        "CancelOrder(Order) returns (Order)",
        ("CancelOrder: response was",),
    ),
    (
        "CancelOrder(Order)",
        "CancelOrder(stream Order)",
        ("CancelOrder: client streaming was False, is True",),
    ),
    ("(stream Receipt)", "(Receipt)", ("PlaceOrder: server streaming was True, is False",)),
    ("com.example", "org.example", ("java_package was com.example.shop.v1, is org.example.shop.v1",)),
    (
        "package shop.v1",
        "package shop.v2",
        ("message shop.v1.Order is gone", "service shop.v1.OrderService is gone"),
    ),
]

GROWING = [
    ("int32 amount = 1;", "int32 amount = 1; string note = 7;"),
    ("string card = 2;", "string card = 2; string cash = 7;"),
    ("ORDER_STATE_SENT = 1;", "ORDER_STATE_SENT = 1; ORDER_STATE_LOST = 2;"),
    ("message Receipt {}", "message Receipt {} message Invoice {}"),
    ("rpc CancelOrder", "rpc PayOrder(Order) returns (Receipt); rpc CancelOrder"),
    ("enum OrderState", "service StockService {} enum OrderState"),
    ("int32 amount = 1;", "int32 amount = 1 [deprecated = true]; // no longer read"),
]


def test_the_contracts_only_grew() -> None:
    """Nothing of the baseline is gone or changed; `make protos-baseline` accepts new contracts on purpose."""
    baseline = FileDescriptorSet.FromString(BASELINE.read_bytes())
    assert baseline.file
    assert list(changes(baseline, described(ROOT))) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"), BREAKING, ids=[f"{old}->{new}" for old, new, _ in BREAKING]
)
def test_a_breaking_change_is_caught(old: str, new: str, expected: tuple[str, ...]) -> None:
    """Taking away or changing what others build on is told, with what it was."""
    found = list(changes(compiled({PATH: BEFORE}), compiled({PATH: changed(old, new)})))
    for sentence in expected:
        assert any(sentence in change for change in found), found


@pytest.mark.parametrize(("old", "new"), GROWING, ids=[new for _, new in GROWING])
def test_what_is_added_is_fine(old: str, new: str) -> None:
    """A contract may grow in every direction."""
    assert list(changes(compiled({PATH: BEFORE}), compiled({PATH: changed(old, new)}))) == []


def test_a_file_stays_where_it_is() -> None:
    """A file that moves takes the import paths of its generated code with it."""
    found = list(changes(compiled({PATH: BEFORE}), compiled({"shop/v1/renamed.proto": BEFORE})))
    assert "file shop/v1/orders.proto is gone" in found
    assert "message shop.v1.Order: file was shop/v1/orders.proto, is shop/v1/renamed.proto" in found


def changed(old: str, new: str) -> str:
    assert old in BEFORE
    return BEFORE.replace(old, new)
