"""The gRPC stubs are made when the package is built; everything else is in pyproject.toml."""

import pathlib
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
from generate_stubs import generate  # noqa: E402


class BuildWithStubs(build_py):
    def run(self) -> None:
        super().run()
        generate(here.parent / "proto/rpc", pathlib.Path(self.build_lib) / "bmcpair/rpc")


setup(cmdclass={"build_py": BuildWithStubs})
