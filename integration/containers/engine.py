"""A podman of the tests' own: its storage, networks and configuration are private, and what it started is gone at its end.

What stays is a cache beside the guests' (scripts/guest-assets): the base image, made of this machine's package sources because
no registry need be reachable, and the images of the Dockerfile's package stages.
"""

import fcntl
import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = "docker.io/library/debian:bookworm-slim"
SUITES = {"bookworm", "bookworm-updates", "bookworm-security"}
# Stages that change only with the Dockerfile.
KEPT_STAGES = ("build-tools", "runtime", "clients")


def cache_folder() -> pathlib.Path:
    guest = os.environ.get("BMCPAIR_GUEST_CACHE")
    if not guest:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "/root"), ".cache")
        guest = os.path.join(base, "bmcpair/guest")
    return pathlib.Path(guest, "containers")


def run(*command, check=True, timeout=600, **how):
    """A command with its output as text; what failed is said with what it printed."""
    how.setdefault("stdin", subprocess.DEVNULL)
    how.setdefault("stdout", subprocess.PIPE)
    how.setdefault("stderr", subprocess.PIPE)
    done = subprocess.run([str(word) for word in command], text=True, errors="replace", timeout=timeout, **how)
    if check and done.returncode != 0:
        said = ((done.stdout or "") + (done.stderr or ""))[-6000:]
        raise AssertionError(f"{' '.join(map(str, command))}: exit status {done.returncode}:\n{said}")
    return done


def debian_sources(folder=pathlib.Path("/etc/apt")):
    """This machine's entries for Debian 12's main, one a line."""
    out = []
    for file in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if not file.is_file():
            continue
        text = re.sub(r"^\s*#.*\n?", "", file.read_text(), flags=re.M)
        if file.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = {}
                for line in re.sub(r"\n[ \t]+", " ", stanza).splitlines():
                    name, _, value = line.partition(":")
                    fields[name.strip().lower()] = value.strip()
                if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
                    continue
                options = [f"{key}={fields[key]}" for key in ("trusted", "signed-by") if fields.get(key, "").count("\n") == 0 and key in fields]
                for uri in fields.get("uris", "").split():
                    for suite in fields.get("suites", "").split():
                        if suite in SUITES and "main" in fields.get("components", "").split():
                            out.append(f"deb {'[' + ' '.join(options) + '] ' if options else ''}{uri} {suite} main")
        elif file.suffix == ".list":
            for line in text.splitlines():
                match = re.match(r"deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)", line.strip())
                if match and match[3] in SUITES and "main" in match[4].split():
                    out.append(f"deb {match[1] or ''}{match[2]} {match[3]} main")
    return out


def apt_settings():
    """How this machine reaches its mirror: proxies, checks, retries."""
    dump = run("apt-config", "dump", "--format", '%f "%v";%n').stdout
    wanted = re.compile(r"Acquire::(https?::|Check-|Retries|AllowInsecure|AllowWeak)")
    return "".join(line + "\n" for line in dump.splitlines() if wanted.match(line) and '"";' not in line)


class Engine:
    def __init__(self):
        if os.geteuid() != 0:
            raise AssertionError("these tests need root: podman makes network namespaces and overlays")
        for program in ("podman", "podman-compose", "catatonit", "buildah", "runc", "mmdebstrap", "kubectl"):
            if not shutil.which(program):
                raise AssertionError(f"{program} is not installed; scripts/packages.txt names what the tests need")
        self.cache = cache_folder()
        self.cache.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.cache / "lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bmcpair-containers-"))
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # runc and cgroupfs, because crun fails on hybrid cgroups; limits, because raising them needs CAP_SYS_RESOURCE.
        (self.folder / "containers.conf").write_text(
            f"""[containers]
default_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{self.folder}/libpod"
[network]
network_backend = "netavark"
network_config_dir = "{self.folder}/networks"
"""
        )
        (self.folder / "storage.conf").write_text(
            f"""[storage]
driver = "overlay"
graphroot = "{self.cache}/storage"
runroot = "{self.folder}/run"
"""
        )
        (self.folder / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n')
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("BMCPAIR_", "EXPECT_"))},
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
        }
        self.clear()

    def podman(self, *words, **how):
        return run("podman", *words, env={**self.environment, **how.pop("environment", {})}, **how)

    def clear(self):
        """Everything that may run, and the images that a change of the sources makes stale."""
        self.podman("pod", "rm", "--all", "--force", "--time", "0", check=False)
        self.podman("rm", "--all", "--force", "--time", "0", check=False)
        self.podman("volume", "prune", "--force", check=False)
        self.podman("network", "prune", "--force", check=False)

    def close(self):
        self.clear()
        made = self.podman("images", "--format", "{{.Repository}}:{{.Tag}}", check=False).stdout.split()
        for image in made:
            if image.startswith("localhost/bmcpair/"):
                self.podman("rmi", "--force", image, check=False)
        self.podman("image", "prune", "--force", check=False)
        self._unmount()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _unmount(self):
        """What podman leaves mounted of a storage that is nobody else's: the store itself, and what a killed podman had."""
        with open("/proc/self/mounts") as mounts:
            points = [line.split()[1] for line in mounts]
        for point in sorted(points, key=len, reverse=True):
            if point.startswith((f"{self.cache}/storage/", f"{self.folder}/")):
                run("umount", point, check=False)

    def make_base(self):
        if self.podman("image", "exists", BASE, check=False).returncode == 0:
            return
        sources = debian_sources()
        assert sources, "no package source of this machine has Debian 12 (bookworm main): looked in /etc/apt"
        settings = self.folder / "apt.conf"
        settings.write_text(apt_settings())
        tar = self.folder / "base.tar"
        run("mmdebstrap", "--variant=minbase", f"--aptopt={settings}", "--dpkgopt=force-unsafe-io", "bookworm", tar, *sources, timeout=1200)
        self.podman("import", tar, BASE)
        tar.unlink()

    def build_arguments(self):
        """How the machine's mirror and compiler cache get into a build; nothing of it is in the Dockerfile."""
        arguments = ["--format", "docker", "--network", "host", "--layers", "--build-arg", f"JOBS={os.cpu_count() or 2}"]
        if os.environ.get("LANG"):
            arguments += ["--build-arg", f"LANG={os.environ['LANG']}"]
        settings = self.folder / "99machine"
        settings.write_text(apt_settings())
        arguments += ["-v", f"{settings}:/etc/apt/apt.conf.d/99machine:ro"]
        credentials = pathlib.Path("/etc/apt/auth.conf.d")
        if credentials.is_dir() and any(credentials.iterdir()):
            arguments += ["-v", f"{credentials}:{credentials}:ro"]
        if any("https:" in line for line in debian_sources()):
            arguments += ["-v", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        if shutil.which("ccache"):
            folder = run("ccache", "--get-config", "cache_dir").stdout.strip()
            os.makedirs(folder, exist_ok=True)
            arguments += ["-v", f"{folder}:/var/cache/ccache"]
        return arguments

    def build(self, target, tag):
        started = time.monotonic()
        self.podman(
            "build", *self.build_arguments(), "--target", target, "-t", tag, "-f", ROOT / "docker/Dockerfile", ROOT, timeout=2700
        )
        print(f"built {target} in {time.monotonic() - started:.0f} s", flush=True)

    def wait_for(self, what, condition, seconds=120):
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"{what} did not come within {seconds} s"
            time.sleep(0.2)
