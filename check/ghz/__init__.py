"""ghz, a load generator of others, against a cell, and after it a client of our own with the same load.

`python -m check.ghz --help`. What is called is in `send_message.json` and `connect.json`, which ghz takes by hand too, as
docs/performance.md tells. `load.py` makes of them what a run needs, `program.py` finds and runs ghz, `own.py` makes the same
calls, `listeners.py` counts what comes of them, and `report.py` shows both.
"""
