"""The package as it is built and installed, with its stubs and types."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path):
    """What the build reads, copied: a build must not write to the repository."""
    shutil.copytree(ROOT / "python", tmp_path / "source/python", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    shutil.copytree(ROOT / "proto/rpc", tmp_path / "source/proto/rpc")
    return tmp_path / "source"


def test_building_makes_the_stubs_and_leaves_the_sources_as_they_were(source, tmp_path):
    before = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    done = subprocess.run(
        [sys.executable, "-B", "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "bdist_egg", "--bdist-dir", tmp_path / "b",
         "--dist-dir", tmp_path / "dist"],
        cwd=source / "python", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (egg,) = (tmp_path / "dist").glob("bmcpair-*.egg")
    names = set(zipfile.ZipFile(egg).namelist())
    assert {"bmcpair/py.typed", "bmcpair/rpc/control_pb2.py", "bmcpair/rpc/control_pb2_grpc.py",
            "bmcpair/rpc/control_pb2.pyi", "bmcpair/pytest_plugin.py"} <= names  # fmt: skip
    entry_points = zipfile.ZipFile(egg).read("EGG-INFO/entry_points.txt").decode()
    assert "[pytest11]\nbmcpair = bmcpair.pytest_plugin" in entry_points
    after = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file() and "build" not in path.parts)
    assert after == before
    version = subprocess.run(
        [sys.executable, "-c", "import bmcpair; print(bmcpair.__version__, bmcpair.__file__)"],
        cwd=tmp_path, env={"PYTHONPATH": str(egg), "PATH": "/usr/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert version.stdout.startswith("0.1.0") and str(egg) in version.stdout, version.stderr


def test_without_stubs_the_import_says_what_to_do(source):
    done = subprocess.run(
        [sys.executable, "-B", "-c", "import bmcpair"],
        cwd=source, env={"PYTHONPATH": str(source / "python/src"), "PATH": "/usr/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install ./python" in done.stderr and "bmcpair_python" in done.stderr


def test_the_types_hold(tmp_path):
    package = pathlib.Path(__import__("bmcpair").__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "python/pyproject.toml", "--cache-dir", tmp_path,
         *sorted(package.glob("*.py"))],
        cwd=package.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
