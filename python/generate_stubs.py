#!/usr/bin/env python3
"""Makes the package bmcpair.rpc from proto/rpc/*.proto: messages, their types, and the gRPC stubs.

usage: generate_stubs.py PROTO_FOLDER PACKAGE_FOLDER

PROTO_FOLDER holds the .proto files; PACKAGE_FOLDER (…/bmcpair/rpc) is made. Needs protoc and grpc_python_plugin
(Debian: protobuf-compiler, protobuf-compiler-grpc).
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile


def generate(protos: pathlib.Path, package: pathlib.Path) -> None:
    sources = sorted(protos.glob("*.proto"))
    if not sources:
        raise SystemExit(f"generate_stubs.py: no .proto file in {protos}")
    programs = {name: shutil.which(name) for name in ("protoc", "grpc_python_plugin")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        raise SystemExit(
            f"generate_stubs.py: {' and '.join(missing)} not found; on Debian: "
            "apt-get install protobuf-compiler protobuf-compiler-grpc"
        )
    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(temporary) / "in"
        made = pathlib.Path(temporary) / "out"
        (tree / "bmcpair/rpc").mkdir(parents=True)
        made.mkdir()
        # Python imports by the .proto's path: below our package they cannot meet somebody else's "proto".
        for source in sources:
            text = source.read_text(encoding="utf-8").replace('import "proto/rpc/', 'import "bmcpair/rpc/')
            (tree / "bmcpair/rpc" / source.name).write_text(text, encoding="utf-8")
        subprocess.run(
            [
                str(programs["protoc"]),
                f"-I{tree}",
                f"--python_out={made}",
                f"--pyi_out={made}",
                f"--grpc_out={made}",
                f"--plugin=protoc-gen-grpc={programs['grpc_python_plugin']}",
                *(f"bmcpair/rpc/{source.name}" for source in sources),
            ],
            check=True,
        )
        package.mkdir(parents=True, exist_ok=True)
        for file in sorted((made / "bmcpair/rpc").iterdir()):
            shutil.copyfile(file, package / file.name)
        (package / "__init__.py").write_text('"""Generated from proto/rpc."""\n', encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    generate(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
