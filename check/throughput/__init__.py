"""How fast a cell is, and what that costs: `python -m check.throughput --help`.

`curve.py` raises the rate until latency or loss says stop; `scenarios.py` names the loads that others have published;
clients and servers are those of `check/connections`.
"""
