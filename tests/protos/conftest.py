"""The contracts' tests need the pinned protoc. It has no builds for Python 3.14: there the tests are left out, aloud."""

import sys

WITHOUT_PROTOC = sys.version_info >= (3, 14)

collect_ignore_glob = ["test_*.py"] if WITHOUT_PROTOC else []


def pytest_report_header() -> str | None:
    return "contracts: not tested, the pinned protoc needs Python < 3.14" if WITHOUT_PROTOC else None
