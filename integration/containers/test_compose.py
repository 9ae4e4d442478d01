"""docker/compose.yaml as it is: the exit status is the test's."""

import pytest
from engine import ROOT, run


@pytest.fixture
def compose(images, tmp_path):
    def up(*files, **environment):
        words = ["podman-compose", "-p", "bmcpair-test"]
        for file in files:
            words += ["-f", ROOT / "docker" / file]
        env = {**images.environment, **environment}
        log = tmp_path / "log"
        try:
            # Into a file: podman-compose ends before the podmans that it started, and they hold its output open.
            with open(log, "w") as out:
                done = run(*words, "up", "--no-build", "--abort-on-container-exit", "--exit-code-from", "test",
                           check=False, timeout=600, env=env, stdout=out, stderr=out)  # fmt: skip
        finally:
            run(*words, "down", "--volumes", "--timeout", "2", check=False, env=env)
        return done.returncode, log.read_text(errors="replace")

    return up


def test_a_client_sees_the_bmc_and_the_result_is_zero(compose):
    status, log = compose("compose.yaml")
    assert status == 0, log
    assert "all as it should be" in log


def test_a_test_that_fails_is_not_zero(compose):
    status, log = compose("compose.yaml", EXPECT_FIRMWARE="9.99")
    assert status != 0, log
    assert "expected 'Firmware Revision         : 9.99'" in log


def test_with_a_script_of_faults_the_clients_come_through(compose):
    status, log = compose("compose.yaml", "compose.faults.yaml")
    assert status == 0, log
    assert "all as it should be" in log and "name=script" in log
