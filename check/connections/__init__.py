"""How many streams a cell holds, and what they cost: `python -m check.connections --help`.

`coordinator.py` starts what is measured and the processes that are its clients (`client_process.py`, `client.py`), lets all
of them connect, then send, and watches. `ledger.py` says from what each client wrote down whether anything was lost or came
twice; `report.py` and `plot.py` show the rest. `machine.py` says beforehand what a run takes and the machine allows.
"""
