"""Fixtures for pytest: `virtual_bmc`, `bmc_emu`, `start_bmc_emu`. docs/pytest.md explains them."""

from __future__ import annotations

import os
from typing import Any, Callable, Generator, List, Mapping

import pytest

from .bmc import VirtualBmc
from .daemon import BmcEmu, Config, Programs
from .errors import BmcpairError

_TRAFFIC_LINES_MAX = 60
_LOG_LINES_MAX = 60
_running = pytest.StashKey[List[BmcEmu]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bmcpair", "virtual BMCs")
    group.addoption(
        "--bmcpair-bin-dir",
        metavar="FOLDER",
        help="where bmc_emu and host_driver are; default: the ini option bmcpair_bin_dir, $BMCPAIR_BIN_DIR, the PATH",
    )
    parser.addini("bmcpair_bin_dir", "folder of bmc_emu and host_driver, relative to the ini-file")
    parser.addini("bmcpair_config", "configuration of BMCs for tests without the marker bmc, relative to the ini-file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "bmc(config, **options): the configuration (a YAML file, relative to the test's file, or a mapping) of this "
        "test's BMCs; options are those of bmcpair.BmcEmu, and state=True keeps state over bmc_emu.restart()",
    )


def _beside_ini(config: pytest.Config, path: str) -> str:
    base = config.inipath.parent if config.inipath else config.rootpath
    return os.path.join(base, path)


@pytest.fixture(scope="session")
def bmcpair_programs(pytestconfig: pytest.Config) -> Programs:
    """Where the programs are."""
    option = pytestconfig.getoption("--bmcpair-bin-dir")
    if option:
        return Programs(os.path.abspath(option))
    ini = pytestconfig.getini("bmcpair_bin_dir")
    return Programs(_beside_ini(pytestconfig, ini) if ini else None)


@pytest.fixture
def bmc_config(request: pytest.FixtureRequest) -> Config:
    """The configuration of `bmc_emu` and `virtual_bmc`: the marker's, the ini-file's, a small one. May be overridden."""
    marker = request.node.get_closest_marker("bmc")
    if marker and marker.args:
        config = marker.args[0]
        if isinstance(config, (str, os.PathLike)):
            return os.path.join(request.path.parent, config)
        if isinstance(config, Mapping):
            return config
        raise pytest.UsageError(f"@pytest.mark.bmc: a path or a mapping is needed, not {type(config).__name__}")
    ini = request.config.getini("bmcpair_config")
    return _beside_ini(request.config, ini) if ini else None


@pytest.fixture
def start_bmc_emu(
    request: pytest.FixtureRequest, bmcpair_programs: Programs
) -> Generator[Callable[..., BmcEmu], None, None]:
    """Starts a daemon, and more than one: `start_bmc_emu(config, state=folder)`. All end with the test."""
    started = request.node.stash.setdefault(_running, [])

    def start(config: Config = None, **options: Any) -> BmcEmu:
        options.setdefault("programs", bmcpair_programs)
        daemon = BmcEmu(config, **options)
        started.append(daemon)
        return daemon

    yield start
    for daemon in reversed(started):
        daemon.stop()
    started.clear()


@pytest.fixture
def bmc_emu(
    request: pytest.FixtureRequest,
    bmc_config: Config,
    start_bmc_emu: Callable[..., BmcEmu],
) -> BmcEmu:
    """A daemon with the test's BMCs, on a private unix socket."""
    marker = request.node.get_closest_marker("bmc")
    options = dict(marker.kwargs) if marker else {}
    if options.get("state") is True:
        options["state"] = request.getfixturevalue("tmp_path") / "bmc-state"
    return start_bmc_emu(bmc_config, **options)


@pytest.fixture
def virtual_bmc(bmc_emu: BmcEmu) -> VirtualBmc:
    """The first BMC of the test's configuration, started for this test alone."""
    return bmc_emu.first


@pytest.hookimpl(hookwrapper=True)  # type: ignore[misc]
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """A test that fails shows what its BMCs saw."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed or call.when != "call":
        return
    for daemon in item.stash.get(_running, []):
        if daemon.log:
            report.sections.append((f"bmc_emu {daemon.address}", "\n".join(daemon.log[-_LOG_LINES_MAX:])))
        for bmc in daemon:
            try:
                messages = bmc.traffic()
            except BmcpairError as error:
                report.sections.append((f"IPMI traffic of {bmc.name}", str(error)))
                continue
            lines = [str(message) for message in messages[-_TRAFFIC_LINES_MAX:]]
            if len(messages) > len(lines):
                lines.insert(0, f"… {len(messages) - len(lines)} more before")
            if lines:
                report.sections.append((f"IPMI traffic of {bmc.name}", "\n".join(lines)))
