"""Does an SDK keep the rules of the contract? Conversations by script that any SDK, in any language, can be run against.

`python -m check.conformance -- COMMAND` starts a scripted cell and, for each scenario, the SDK's driver, a small program
that does what it is told in lines of JSON. docs/sdk_authors.md tells how to write one. `cell.py` is the scripted cell,
`app.py` the driver as seen from here, `manners.py` what holds on every stream, and `scenarios/` has the conversations.
"""
