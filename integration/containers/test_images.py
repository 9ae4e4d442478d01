"""Each image as it is run by itself."""

import json

import pytest
from engine import BASE, ROOT, run


def inspect(engine, image):
    return json.loads(engine.podman("image", "inspect", f"localhost/bmcpair/{image}").stdout)[0]


def container(engine, request, *words):
    """A container in the background; gone with the test."""
    identity = engine.podman("run", "--detach", *words).stdout.strip()
    request.addfinalizer(lambda: engine.podman("rm", "--force", "--time", "0", "--volumes", identity, check=False))
    return identity


def healthy(engine, identity):
    state = json.loads(engine.podman("inspect", identity).stdout)[0]["State"]
    if state["Status"] == "exited":
        raise AssertionError(f"it ended, exit status {state['ExitCode']}: {engine.podman('logs', identity).stderr}")
    return engine.podman("healthcheck", "run", identity, check=False).returncode == 0


@pytest.mark.parametrize("image", ["bmc_emu", "host_driver", "lab", "tools"])
def test_an_image_is_labelled_small_and_not_roots(images, image):
    one = inspect(images, image)
    assert one["Config"]["User"] == "10001:10001"
    labels = one["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.title"] and labels["org.opencontainers.image.description"]
    base = json.loads(images.podman("image", "inspect", BASE).stdout)[0]
    above = (one["Size"] - base["Size"]) / 1e6
    assert above < (180 if image == "tools" else 90), f"{above:.0f} MB above the base: is a build's layer in it?"
    history = " ".join(layer.get("created_by", "") for layer in one["History"])
    assert "ccache" not in history and "COPY . ." not in history


@pytest.mark.parametrize(
    "image, program",
    [("bmc_emu", "bmc_emu"), ("bmc_emu", "bmcctl"), ("host_driver", "host_driver"), ("lab", "bmc_lab"), ("tools", "ipmitool"),
     ("tools", "bmc-info"), ("tools", "ipmicmd"), ("tools", "ipmiutil"), ("tools", "host_driver")],
)  # fmt: skip
def test_the_programs_of_an_image_load(images, image, program):
    done = images.podman(
        "run", "--rm", "--entrypoint", "sh", f"localhost/bmcpair/{image}", "-c", f'ldd "$(command -v {program})"', check=False
    )
    assert done.returncode == 0 and "not found" not in done.stdout, done.stdout + done.stderr


def test_the_daemon_is_healthy_logs_json_and_keeps_its_state_over_sigterm(images, request):
    volume = images.podman("volume", "create").stdout.strip()
    request.addfinalizer(lambda: images.podman("volume", "rm", "--force", volume, check=False))
    # As strict as a cluster would have it: nothing but the state and the run folder can be written to.
    strict = ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", "none",
              "--tmpfs", "/tmp", "-v", f"{volume}:/var/lib/bmcpair"]  # fmt: skip
    first = container(images, request, *strict, "localhost/bmcpair/bmc_emu")
    images.wait_for("a healthy daemon", lambda: healthy(images, first))
    record = "00 00 02 00 00 00 00 20 00 04 01 01 6f 02 ff ff"
    images.podman("exec", first, "bmcctl", "sel", "clear", "demo")
    added = images.podman("exec", first, "bmcctl", "--json", "sel", "add", "demo", *record.split())
    images.podman("stop", "--time", "60", first)
    state = json.loads(images.podman("inspect", first).stdout)[0]["State"]
    assert state["ExitCode"] == 0, "stopped by SIGTERM, as asked; a kill would be 137"
    lines = images.podman("logs", first).stdout.splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    assert "ready" in messages and "state is kept in /var/lib/bmcpair/state" in messages
    assert messages[-1] == "stopped"
    assert any("0.0.0.0:7080 (TCP, plain text: whoever reaches it controls these BMCs)" in one for one in messages)
    second = container(images, request, *strict, "localhost/bmcpair/bmc_emu")
    images.wait_for("a healthy daemon", lambda: healthy(images, second))
    kept = json.loads(images.podman("exec", second, "bmcctl", "--json", "sel", "list", "demo").stdout)
    wanted = json.loads(added.stdout)["id"]
    assert wanted in [one["id"] for one in kept["records"]]


def test_a_daemon_that_is_gone_is_not_healthy(images, request):
    one = container(images, request, "--network", "none", "--entrypoint", "sleep", "localhost/bmcpair/bmc_emu", "600")
    assert not healthy(images, one)


def test_a_wrong_configuration_is_one_line_and_exit_status_3(images, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("bmcs:\n  - nmae: a\n")
    done = images.podman(
        "run", "--rm", "--network", "none", "-v", f"{wrong}:/etc/bmcpair/bmc_emu.yaml:ro", "localhost/bmcpair/bmc_emu", check=False
    )
    assert done.returncode == 3
    assert "/etc/bmcpair/bmc_emu.yaml:2:5: " in done.stderr and "did you mean 'name'" in done.stderr


def test_one_container_is_enough_for_one_line_of_ipmitool(images):
    done = images.podman(
        "run", "--rm", "--network", "none", "--cap-drop", "all", "localhost/bmcpair/tools",
        "host_driver", "run", "--config", "/etc/bmcpair/bmc_emu.yaml", "--", "ipmitool", "sdr",
    )  # fmt: skip
    sensors = {line.split("|")[0].strip(): line for line in done.stdout.splitlines()}
    assert "23.6" in sensors["Inlet Temp"] and "degrees C" in sensors["Inlet Temp"] and "RPM" in sensors["Fan 2"]


def test_buildah_builds_the_same_file(images):
    arguments = [word for word in images.build_arguments()]
    run("buildah", "bud", *arguments, "--target", "bmc_emu", "-t", "localhost/bmcpair/by-buildah",
        "-f", ROOT / "docker/Dockerfile", ROOT, env=images.environment, timeout=2700)  # fmt: skip
    one = inspect(images, "by-buildah")
    assert one["Config"]["Entrypoint"] == ["bmc_emu"] and one["Healthcheck"]["Test"][0] == "CMD"


def test_the_dockerfile_needs_no_frontend_and_no_heredoc():
    text = (ROOT / "docker/Dockerfile").read_text()
    assert "syntax=" not in text.replace(" ", "") and "<<" not in text
