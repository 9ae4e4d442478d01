#!/usr/bin/env python3
"""docker/ as it is, with docker itself: built, run one by one, composed. By hand, as root; not part of the test suite, which does
the same with podman:

    python3 integration/containers/docker_check.py

Debian's docker.io and docker-compose are fetched and unpacked into a folder of their own; nothing is installed. The daemon's
state, socket and networks are private: it builds in the machine's network, because apt needs a mirror, and runs containers in a
network namespace. A docker that the machine has is not touched. Exit status: 0 all as it should be, 1 what was not is the last line.
"""

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import socketserver
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

from engine import ROOT, apt_settings, debian_sources, run

PACKAGES = """containerd docker.io docker-compose tini runc python3-attr python3-certifi python3-chardet
    python3-charset-normalizer python3-distro python3-docker python3-dockerpty python3-docopt python3-dotenv python3-idna
    python3-jsonschema python3-pyrsistent python3-requests python3-six python3-texttable python3-urllib3 python3-websocket
    python3-yaml""".split()
TARGETS = ("tools", "bmc_emu", "host_driver", "lab")


def say(text):
    print(text, flush=True)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def compiler_cache(note):
    """The machine's ccache, to be read by builds: docker cannot mount it. Its port, which is the one that is noted, or None."""
    if not shutil.which("ccache"):
        return None
    folder = pathlib.Path(run("ccache", "--get-config", "cache_dir").stdout.strip())

    class Entries(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            key = self.path.rpartition("/")[2]
            found = None
            if key.isalnum():
                names = [folder.joinpath(*key[:levels], key[levels:] + kind) for levels in (2, 1, 3, 4) for kind in "RM"]
                found = next((name.read_bytes() for name in names if name.is_file()), None)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", int(note.read_text()) if note.exists() else 0), Entries)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    note.write_text(str(server.server_address[1]))
    return server.server_address[1]


class Docker:
    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("BMCPAIR_", "EXPECT_", "DOCKER_", "COMPOSE_"))},
            "PATH": f"{self.root}/usr/bin:{self.root}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{self.root}/usr/lib/python3/dist-packages",
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_CONFIG": f"{folder}/config",
            "HOME": str(folder),
        }
        self.daemon = None

    def fetch(self):
        debs = self.folder / "debs"
        debs.mkdir()
        # As whoever owns the folder: apt's own user may not write here.
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES, cwd=debs, timeout=900)
        for deb in debs.iterdir():
            run("dpkg-deb", "-x", deb, self.root)
        shutil.rmtree(debs)

    @contextlib.contextmanager
    def running(self, *options, alone):
        """dockerd, until the block ends; alone: in a network namespace of its own."""
        words = [self.root / "usr/sbin/dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                 "--pidfile", self.folder / "pid", "--host", self.environment["DOCKER_HOST"],
                 "--cgroup-parent", f"/{self.folder.name}", *options]  # fmt: skip
        if alone:
            words = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words]
        with open(self.folder / "dockerd.log", "a") as log:
            self.daemon = subprocess.Popen([str(word) for word in words], env=self.environment, stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, start_new_session=True)  # fmt: skip
        try:
            end = time.monotonic() + 120
            while self.docker("version", check=False).returncode != 0:
                check(self.daemon.poll() is None and time.monotonic() < end,
                      "dockerd does not come up: " + (self.folder / "dockerd.log").read_text()[-3000:])  # fmt: skip
                time.sleep(0.2)
            yield
        finally:
            if self.daemon.poll() is None:
                left = self.docker("ps", "--all", "--quiet", check=False).stdout.split()
                if left:
                    self.docker("rm", "--force", "--volumes", *left, check=False)
                self.daemon.send_signal(signal.SIGTERM)
                try:
                    self.daemon.wait(60)
                except subprocess.TimeoutExpired:
                    self.daemon.kill()
                    self.daemon.wait()

    def docker(self, *words, **how):
        return run(self.root / "usr/bin/docker", *words, env=self.environment, **how)

    def compose(self, project, files, *words, environment=None, **how):
        arguments = ["/usr/bin/python3", "-m", "compose", "--no-ansi", "-p", project]
        for file in files:
            arguments += ["-f", ROOT / "docker" / file]
        return run(*arguments, *words, env={**self.environment, **(environment or {})}, **how)

    def make_base(self, port):
        settings = self.folder / "apt.conf"
        settings.write_text(apt_settings())
        tar = self.folder / "base.tar"
        run("mmdebstrap", "--variant=minbase", f"--aptopt={settings}", "--dpkgopt=force-unsafe-io", "bookworm", tar,
            *debian_sources(), timeout=1200)  # fmt: skip
        if port:
            conf = self.folder / "ccache.conf"
            conf.write_text(f"remote_storage = http://127.0.0.1:{port}|layout=flat|read-only\n")
            with tarfile.open(tar, "a") as base:
                base.add(conf, "./etc/ccache.conf")
        self.docker("import", tar, "debian:bookworm-slim")
        tar.unlink()

    def clean(self):
        """What a daemon leaves outside of its folder, and in it mounted."""
        with open("/proc/self/mounts") as mounts:
            points = [line.split()[1] for line in mounts]
        for point in sorted(points, key=len, reverse=True):
            if point.startswith(f"{self.folder}/"):
                run("umount", point, check=False)
        for group in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.folder.name}"):
            for inner in sorted(group.glob("**/"), key=lambda path: len(path.parts), reverse=True):
                with contextlib.suppress(OSError):
                    inner.rmdir()


def build(docker):
    for target in TARGETS:
        started = time.monotonic()
        log = docker.docker("build", "--network", "host", "--build-arg", f"JOBS={os.cpu_count() or 2}", "--build-arg",
                            f"LANG={os.environ.get('LANG', 'C.UTF-8')}", "--target", target, "-t", f"bmcpair/{target}",
                            "-f", ROOT / "docker/Dockerfile", ROOT, timeout=7200).stdout  # fmt: skip
        check("Successfully built" in log or "writing image" in log, log[-3000:])
        one = json.loads(docker.docker("image", "inspect", f"bmcpair/{target}").stdout)[0]
        base = json.loads(docker.docker("image", "inspect", "debian:bookworm-slim").stdout)[0]
        check(one["Config"]["User"] == "10001:10001", f"{target}: user {one['Config']['User']}")
        check(one["Config"]["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0", f"{target}: labels")
        say(f"ok: docker build --target {target}: {time.monotonic() - started:.0f} s, "
            f"{(one['Size'] - base['Size']) / 1e6:.0f} MB above the base")  # fmt: skip


def run_images(docker):
    volume = docker.docker("volume", "create").stdout.strip()
    identity = docker.docker("run", "--detach", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", "none",
                             "--tmpfs", "/tmp", "-v", f"{volume}:/var/lib/bmcpair", "bmcpair/bmc_emu").stdout.strip()  # fmt: skip
    end = time.monotonic() + 120
    while docker.docker("inspect", "-f", "{{.State.Health.Status}}", identity).stdout.strip() != "healthy":
        check(time.monotonic() < end, "bmc_emu: not healthy: " + docker.docker("logs", identity, check=False).stdout)
        time.sleep(0.2)
    say("ok: bmc_emu: healthy by docker's own health check; read-only, no capability, no network")
    user = docker.docker("exec", identity, "id", "-u").stdout.strip()
    check(user == "10001", f"runs as {user}")
    docker.docker("exec", identity, "bmcctl", "sensor", "set", "demo", "CPU Temp", "96")
    for line in docker.docker("logs", identity).stdout.splitlines():
        json.loads(line)
    docker.docker("stop", "--time", "10", identity)
    # By docker's own clock: what the client and the daemon need themselves is not the program's.
    listed = docker.docker("events", "--since", "0", "--until", str(int(time.time()) + 1), "--filter", f"container={identity}",
                           "--format", "{{json .}}").stdout  # fmt: skip
    when = {event["Action"]: event["timeNano"] for event in reversed([json.loads(line) for line in listed.splitlines()])}
    state = json.loads(docker.docker("inspect", identity).stdout)[0]["State"]
    check(state["ExitCode"] == 0, f"exit status {state['ExitCode']} after SIGTERM")
    say(f"ok: SIGTERM: exit status 0, {(when['die'] - when['kill']) / 1e6:.0f} ms from signal to end")
    docker.docker("start", identity)
    end = time.monotonic() + 120
    while docker.docker("exec", identity, "bmcctl", "health", check=False).returncode != 0:
        check(time.monotonic() < end, "bmc_emu does not come up again")
        time.sleep(0.2)
    records = json.loads(docker.docker("exec", identity, "bmcctl", "--json", "sel", "list", "demo").stdout)["records"]
    check(records, "the SEL is gone after a restart")
    docker.docker("rm", "--force", identity)
    docker.docker("volume", "rm", volume)
    say(f"ok: {len(records)} SEL records after stop and start")
    whole = ["host_driver", "run", "--config", "/etc/bmcpair/bmc_emu.yaml", "--"]
    for options, program, expected in (
        ([], ["ipmitool", "sdr"], "CPU Temp"),
        (["--user", "0", "--cap-drop", "all"], ["bmc-info"], "Firmware Revision"),
        (["--user", "0", "--cap-drop", "all"], ["ipmiutil", "cmd", "-F", "kcs", "00", "20", "18", "01"], "completed successfully"),
    ):
        done = docker.docker("run", "--rm", "--network", "none", *options, "bmcpair/tools", *whole, *program)
        check(expected in done.stdout, done.stdout + done.stderr)
        say(f"ok: docker run bmcpair/tools {' '.join(whole)} {' '.join(program)}")
    check("bt-cap-begin" in docker.docker("run", "--rm", "--network", "none", "bmcpair/lab", "list").stdout, "bmc_lab list")
    check("host_driver" in docker.docker("run", "--rm", "--network", "none", "bmcpair/host_driver", "--version").stdout, "host_driver")
    say("ok: docker run bmcpair/lab list, docker run bmcpair/host_driver --version")


def composed(docker):
    for files, environment, good, text in (
        (["compose.yaml"], {}, True, "all as it should be"),
        (["compose.yaml"], {"EXPECT_FIRMWARE": "9.99"}, False, "expected 'Firmware Revision         : 9.99'"),
        (["compose.yaml", "compose.faults.yaml"], {}, True, "name=script"),
    ):
        try:
            done = docker.compose("bmcpair-check", files, "up", "--no-build", "--exit-code-from", "test", environment=environment,
                                  check=False, timeout=900)  # fmt: skip
        finally:
            docker.compose("bmcpair-check", files, "down", "--volumes", "--timeout", "2", check=False)
        log = done.stdout + done.stderr
        check((done.returncode == 0) == good and text in log, f"exit status {done.returncode}: {log[-6000:]}")
        words = " ".join(f"{key}={value}" for key, value in environment.items())
        say(f"ok: {words + ' ' if words else ''}docker-compose {' '.join('-f docker/' + file for file in files)} up "
            f"--exit-code-from test: {done.returncode}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="where to work, some 3 GB; kept, and used again as it is (default: a new one, removed)")
    folder = parser.parse_args().folder
    if os.geteuid() != 0:
        sys.exit("docker_check: this needs root: dockerd does")
    for program in ("mmdebstrap", "iptables", "ip", "unshare"):
        if not shutil.which(program):
            sys.exit(f"docker_check: {program} is not installed; scripts/packages.txt names what is needed")
    kept = folder is not None
    folder = (folder or pathlib.Path(tempfile.mkdtemp(prefix="bmcpair-docker-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    docker = Docker(folder)
    status = 0
    try:
        if not (docker.root / "usr/sbin/dockerd").exists():
            docker.fetch()
        say(run(docker.root / "usr/sbin/dockerd", "--version").stdout.strip())
        with docker.running("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none", alone=False):
            port = compiler_cache(folder / "port")
            if docker.docker("image", "inspect", "debian:bookworm-slim", check=False).returncode != 0:
                docker.make_base(port)
                say("ok: debian:bookworm-slim, made of this machine's package sources")
            build(docker)
        with docker.running(alone=True):
            run_images(docker)
            composed(docker)
        say("all as it should be")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        say(f"FAILED: {error}")
        status = 1
    finally:
        docker.clean()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
