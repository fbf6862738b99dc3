"""Makes what is derived from the contracts: the Python code beside each .proto file, and the baseline of "only add".

Without arguments: the code, which is *_pb2.py, *_pb2.pyi and, where there is a service, *_pb2_grpc.py. With --baseline:
protos/baseline.binpb, today's contracts, which later ones may only add to.
"""

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
"""The protoc root: import paths, in .proto files and in Python, are relative to it."""

BASELINE = ROOT / "baseline.binpb"


def proto_files(root: Path = ROOT) -> list[str]:
    """Every .proto file below `root`, as protoc names it, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.proto"))


def describe(root: Path, descriptor_set: Path, *, source_info: bool = False) -> FileDescriptorSet:
    """Write the descriptors of every file below `root`, without what they import, to `descriptor_set`, and read them."""
    options = ["--include_source_info"] if source_info else []
    _protoc(root, [f"--descriptor_set_out={descriptor_set}", *options], proto_files(root))
    return FileDescriptorSet.FromString(descriptor_set.read_bytes())


def generate(output: Path, root: Path = ROOT) -> None:
    """Write the code of every file below `root` to the same place below `output`."""
    with TemporaryDirectory() as scratch:
        described = describe(root, Path(scratch, "files.binpb"))
    _protoc(root, [f"--python_out={output}", f"--pyi_out={output}"], [file.name for file in described.file])
    _protoc(root, [f"--grpc_python_out={output}"], [file.name for file in described.file if file.service])


def _protoc(root: Path, options: Sequence[str], names: Sequence[str]) -> None:
    well_known = files("grpc_tools") / "_proto"
    if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *options, *names]) != 0:
        raise SystemExit("protoc failed: see above")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Makes what is derived from the contracts.")
    parser.add_argument("--baseline", action="store_true", help="accept today's contracts as the baseline")
    if parser.parse_args().baseline:
        describe(ROOT, BASELINE)
    else:
        generate(ROOT)


if __name__ == "__main__":
    main()
