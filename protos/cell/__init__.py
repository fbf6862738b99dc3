"""The contracts of the messaging cell, as protoc makes them of the .proto files beside the code.

A package of its own right, not a namespace: a folder named `cell` that happens to be earlier on the path must not hide it.
"""
