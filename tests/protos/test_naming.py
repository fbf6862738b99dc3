"""The contracts keep the naming rules, and each rule catches what it is for."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from generate import ROOT
from tests.protos import naming
from tests.protos.elements import compiled, described

PATH = "shop/orders/v1/orders.proto"
RIGHT = """
syntax = "proto3";
package shop.orders.v1;
import "google/protobuf/timestamp.proto";
option csharp_namespace = "Shop.Orders.V1";
option go_package = "example.com/shop/orders/v1;ordersv1";
option java_multiple_files = true;
option java_package = "com.example.shop.orders.v1";
option swift_prefix = "ShopOrders";
// Takes orders.
service OrderService {
  // Takes one order.
  rpc PlaceOrder(PlaceOrderRequest) returns (PlaceOrderResponse);
}
// An order to be.
message PlaceOrderRequest {
  // When it was ordered.
  google.protobuf.Timestamp ordered_at = 1;
  // Who pays; exactly one.
  oneof paid_by {
    string card = 2; // by card
    string account = 3; // by account
  }
  // How many of each.
  map<string, int32> amounts = 4;
  // Unset: no hurry.
  optional int32 days = 5;
}
// An order that was taken.
message PlaceOrderResponse {
  // How it stands.
  OrderState state = 1;
}
// States of an order.
enum OrderState {
  // Never used.
  ORDER_STATE_UNSPECIFIED = 0;
  // It is on its way.
  ORDER_STATE_SENT = 1;
}
"""

WRONG: list[tuple[naming.Rule, str, str]] = [
    (naming.package_is_folder, "package shop.orders.v1;", "package shop.order.v1;"),
    (naming.package_lower_snake, "package shop.orders.v1;", "package shop.Orders.v1;"),
    (naming.package_version, "package shop.orders.v1;", "package shop.orders;"),
    (naming.package_options, 'option swift_prefix = "ShopOrders";', ""),
    (naming.imports_plain, "import ", "import public "),
    (naming.messages_pascal, "PlaceOrderResponse", "Place_Order_Response"),
    (naming.fields_lower_snake, "ordered_at", "orderedAt"),
    (naming.oneofs_lower_snake, "paid_by", "PaidBy"),
    (naming.enums_pascal, "OrderState", "order_state"),
    (naming.enums_without_alias, "// Never used.", "option allow_alias = true; ORDER_STATE_NONE = 0;"),
    (naming.enum_values_upper_snake, "ORDER_STATE_SENT", "ORDER_STATE_Sent"),
    (naming.enum_values_prefixed, "ORDER_STATE_SENT", "SENT"),
    (naming.enum_zero_unspecified, "ORDER_STATE_UNSPECIFIED", "ORDER_STATE_NEW"),
    (naming.services_pascal, "service OrderService", "service order_Service"),
    (naming.services_suffixed, "service OrderService", "service Orders"),
    (naming.rpcs_pascal, "rpc PlaceOrder(", "rpc place_order("),
    (naming.rpc_messages_named, "PlaceOrderResponse", "OrderPlaced"),
    (naming.rpc_messages_unique, "returns (PlaceOrderResponse)", "returns (PlaceOrderRequest)"),
    (naming.everything_commented, "// When it was ordered.", ""),
    (naming.everything_commented, "// by card", ""),
    (naming.everything_commented, "// How it stands.", ""),
    (naming.everything_commented, "// It is on its way.", ""),
    (naming.everything_commented, "// Takes one order.", ""),
    (naming.everything_commented, "// Takes orders.", ""),
    (naming.everything_commented, "// An order to be.", ""),
    (naming.everything_commented, "// States of an order.", ""),
]


@pytest.fixture(scope="module")
def contracts() -> FileDescriptorSet:
    return described(ROOT)


@pytest.mark.parametrize("rule", naming.RULES, ids=lambda rule: rule.__name__)
def test_the_contracts_keep_the_rule(contracts: FileDescriptorSet, rule: naming.Rule) -> None:
    """No contract, public or private, breaks the rule."""
    assert contracts.file
    assert list(rule(contracts)) == []


def test_a_right_contract_passes() -> None:
    """A contract that keeps every rule is not complained about: maps, optional fields and trailing comments are fine."""
    files = compiled({PATH: RIGHT})
    assert [violation for rule in naming.RULES for violation in rule(files)] == []


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    WRONG,
    ids=[f"{rule.__name__}-{wrong or right}" for rule, right, wrong in WRONG],
)
def test_a_violation_is_caught(rule: naming.Rule, right: str, wrong: str) -> None:
    """One change to a right contract breaks the rule, once."""
    assert right in RIGHT
    files = compiled({PATH: RIGHT.replace(right, wrong)})
    assert len(list(rule(files))) == 1


def test_another_syntax_is_caught() -> None:
    """A file of proto2 is caught."""
    files = compiled({PATH: 'syntax = "proto2";\npackage shop.orders.v1;'})
    assert len(list(naming.syntax_proto3(files))) == 1


def test_a_file_name_is_checked() -> None:
    """A file that is not lower_snake_case is caught."""
    assert len(list(naming.file_lower_snake(compiled({"shop/orders/v1/theOrders.proto": RIGHT})))) == 1


def test_files_of_a_package_share_their_options() -> None:
    """Two files of one package that differ in an option are caught."""
    other = 'syntax = "proto3";\npackage shop.orders.v1;\n' + "\n".join(
        line.replace("com.example", "org.example")
        for line in RIGHT.splitlines()
        if line.startswith("option ")
    )
    violations = list(naming.package_options(compiled({PATH: RIGHT, "shop/orders/v1/other.proto": other})))
    assert len(violations) == 1
    assert "java_package" in violations[0]


def test_every_rule_has_a_counterexample() -> None:
    """No rule stands there without a test that it can fail."""
    shown = {rule for rule, _, _ in WRONG} | {naming.file_lower_snake, naming.syntax_proto3}
    assert shown == set(naming.RULES)
