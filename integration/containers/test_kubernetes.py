"""docker/kubernetes: what kubectl renders of it, its Pod played by podman, its Job's workers."""

import json
import os
import pathlib
import re

import pytest
import yaml
from engine import ROOT, run
from test_images import healthy

KUBERNETES = ROOT / "docker/kubernetes"


def rendered(folder):
    done = run("kubectl", "kustomize", KUBERNETES / folder)
    objects = {}
    for one in yaml.safe_load_all(done.stdout):
        key = one["kind"]
        assert key not in objects, f"two of kind {key}"
        objects[key] = one
    return objects


def container_of(workload):
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("folder", ["base", "many", "lab"])
def test_every_container_is_as_strict_as_a_restricted_namespace_asks(folder):
    objects = rendered(folder)
    workload = objects.get("StatefulSet") or objects["Job"]
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    one = container_of(workload)
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert {"cpu", "memory"} <= set(one["resources"]["requests"]) and "memory" in one["resources"]["limits"]
    assert all(thing["metadata"]["namespace"] == "bmcpair" for kind, thing in objects.items() if kind != "Namespace")


@pytest.mark.parametrize("folder, replicas", [("base", 1), ("many", 16)])
def test_bmcs_are_a_stateful_set_with_state_a_name_each_and_probes(folder, replicas):
    objects = rendered(folder)
    stateful, service, config = objects["StatefulSet"], objects["Service"], objects["ConfigMap"]
    assert stateful["spec"]["replicas"] == replicas
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"] == "bmc"
    assert service["spec"]["clusterIP"] == "None"
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert stateful["spec"]["selector"]["matchLabels"].items() <= labels.items()
    one = container_of(stateful)
    assert one["image"] == "bmcpair/bmc_emu:latest"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert one[probe]["exec"]["command"][-1] == "health"
    mounts = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
    assert mounts == {"config": "/etc/bmcpair", "state": "/var/lib/bmcpair", "run": "/tmp"}
    assert [claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]] == ["state"]
    volumes = {volume["name"]: volume for volume in stateful["spec"]["template"]["spec"]["volumes"]}
    # A digest of the content is in the name, so that a change rolls the pods.
    name = config["metadata"]["name"]
    assert re.fullmatch(r"bmc-config-[0-9a-z]{10}", name) and volumes["config"]["configMap"]["name"] == name
    environment = {variable["name"]: variable["value"] for variable in one["env"]}
    assert environment["BMCPAIR_LOG_FORMAT"] == "json"
    assert os.path.basename(environment["BMCPAIR_CONFIG"]) in config["data"]


@pytest.mark.parametrize("folder, bmcs", [("base", 1), ("many", 64)])
def test_the_configurations_have_no_mistake(folder, bmcs, tmp_path):
    file = tmp_path / "bmc_emu.yaml"
    file.write_text(rendered(folder)["ConfigMap"]["data"]["bmc_emu.yaml"])
    done = run(pathlib.Path(os.environ["BMCPAIR_BIN_DIR"], "bmc_emu"), "--check", file)
    assert f"no mistake: {bmcs} BMC" in done.stdout


def test_the_search_is_an_indexed_job_whose_workers_get_the_search_from_the_config_map():
    objects = rendered("lab")
    job = objects["Job"]
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == 16
    one = container_of(job)
    assert one["command"] == ["bmc_lab_worker"] and one["image"] == "bmcpair/lab:latest"
    assert one["envFrom"] == [{"configMapRef": {"name": objects["ConfigMap"]["metadata"]["name"]}}]
    assert set(objects["ConfigMap"]["data"]) == {"EXPERIMENT", "PROFILE", "SEED", "SECONDS_MAX", "OPTIONS"}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_podman_plays_the_pod_of_the_base(images, tmp_path, request):
    objects = rendered("base")
    stateful = objects["StatefulSet"]
    claim = stateful["spec"]["volumeClaimTemplates"][0]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bmc-0", "labels": stateful["spec"]["template"]["metadata"]["labels"]},
        "spec": json.loads(json.dumps(stateful["spec"]["template"]["spec"])),
    }
    # What a StatefulSet's controller would add.
    pod["spec"]["volumes"].append({"name": "state", "persistentVolumeClaim": {"claimName": "state-bmc-0"}})
    # The tag of the image that is here.
    container_of({"spec": {"template": pod}})["image"] = "localhost/bmcpair/bmc_emu:latest"
    persistent = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "state-bmc-0"}, "spec": claim["spec"]}
    config = {**objects["ConfigMap"], "metadata": {"name": objects["ConfigMap"]["metadata"]["name"]}}
    # A claim outlives its pods, as with a controller.
    claims = tmp_path / "claim.yaml"
    claims.write_text(yaml.safe_dump(persistent))
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump_all([config, pod]))
    play = ["play", "kube", str(file)]
    request.addfinalizer(lambda: images.podman("volume", "rm", "--force", "state-bmc-0", check=False))
    request.addfinalizer(lambda: images.podman("play", "kube", "--down", str(file), check=False))
    images.podman("play", "kube", str(claims))
    images.podman(*play)
    images.wait_for("a healthy pod", lambda: healthy(images, "bmc-0-bmc"))
    sensors = images.podman("exec", "bmc-0-bmc", "bmcctl", "sensor", "list", "server").stdout
    assert "CPU Temp" in sensors
    images.podman("exec", "bmc-0-bmc", "bmcctl", "sensor", "set", "server", "CPU Temp", "96")
    # Down and up again: another pod, the same state.
    images.podman("play", "kube", "--down", str(file))
    images.podman(*play)
    images.wait_for("a healthy pod", lambda: healthy(images, "bmc-0-bmc"))
    events = json.loads(images.podman("exec", "bmc-0-bmc", "bmcctl", "--json", "sel", "list", "server").stdout)
    assert len(events["records"]) == 2, "crossing two thresholds is two events, and they were kept"


def worker(images, index, **environment):
    words = []
    for key, value in {"EXPERIMENT": "bt-cap-begin", "PROFILE": "linux-4.18", **environment}.items():
        words += ["--env", f"{key}={value}"]
    return images.podman("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "all", "--env", f"JOB_COMPLETION_INDEX={index}",
                         *words, "--entrypoint", "bmc_lab_worker", "localhost/bmcpair/lab", check=False)  # fmt: skip


def test_workers_search_seeds_of_their_own_and_their_tokens_are_gathered(images, tmp_path):
    runs = [worker(images, index, SEED="40", RUNS_MAX="20000") for index in (0, 1)]
    for index, done in enumerate(runs):
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"--seed {40 + index} " in done.stdout.splitlines()[0]
        assert re.fullmatch(r"done \d+ \d+", done.stdout.splitlines()[-1])
    tokens = {line.split()[1] for done in runs for line in done.stdout.splitlines() if line.startswith("found ")}
    assert tokens and all(token.startswith("bl1/bt-cap-begin/linux-4.18/") for token in tokens)
    for token in tokens:
        again = images.podman("run", "--rm", "--network", "none", "localhost/bmcpair/lab", "replay", token, check=False)
        assert again.returncode == 2 and "the same run as when it was found" in again.stdout

    # What a cluster would say of these two workers, by a kubectl that reads their logs; there is no cluster here.
    (tmp_path / "logs").write_text("".join(done.stdout for done in runs))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\ncase "$*" in *" logs "*) cat {tmp_path}/logs ;; *) echo "2 2 /${{FAILED:+ $FAILED}}" ;; esac\n')
    kubectl.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    gathered = run(KUBERNETES / "lab/gather.sh", env=env, check=False)
    assert gathered.returncode == 2 and set(gathered.stdout.split()) == tokens
    assert re.fullmatch(r"2 workers, \d+ runs, \d+ violations\n", gathered.stderr)
    failed = run(KUBERNETES / "lab/gather.sh", env={**env, "FAILED": "1"}, check=False)
    assert failed.returncode == 1 and "1 of 2 workers failed" in failed.stderr


def test_a_worker_that_finds_nothing_says_so_and_a_wrong_search_is_an_error(images):
    nothing = worker(images, 3, PROFILE="hardened", RUNS_MAX="200")
    assert nothing.returncode == 0 and "found" not in nothing.stdout and nothing.stdout.splitlines()[-1] == "done 200 0"
    wrong = worker(images, 0, EXPERIMENT="no-such-experiment", RUNS_MAX="10")
    assert wrong.returncode == 1 and "unknown experiment" in wrong.stderr
    unnamed = worker(images, "x")
    assert unnamed.returncode == 2 and "JOB_COMPLETION_INDEX: 'x' is not a number" in unnamed.stderr
