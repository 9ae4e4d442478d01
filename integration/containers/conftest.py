import pytest
from engine import KEPT_STAGES, Engine


@pytest.fixture(scope="session")
def engine():
    one = Engine()
    yield one
    one.close()


@pytest.fixture(scope="session")
def images(engine):
    """The Dockerfile as it is, every target."""
    engine.make_base()
    for stage in KEPT_STAGES:
        engine.build(stage, f"localhost/bmcpair-kept/{stage}")
    for target in ("tools", "bmc_emu", "host_driver", "lab"):
        engine.build(target, f"localhost/bmcpair/{target}")
    return engine
