"""host_driver run where people type: in an interactive shell on a terminal, with job control."""

import os
import pathlib
import pty
import select
import signal
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST_DRIVER = pathlib.Path(os.environ["BMCPAIR_BIN_DIR"], "host_driver")
RUN = f"{HOST_DRIVER} run --config {ROOT}/configs/one-kcs.yaml --timeout 60 -- "
INTERRUPT, END_OF_INPUT, SUSPEND = "\x03", "\x04", "\x1a"
# Says so when it begins and each time it goes on.
TICKING = """sh -c 'trap "echo went o""n" CONT; echo u""p; while :; do sleep 0.1; done'\n"""
# It only bounds how long a failing test takes.
PATIENCE = 120


class Terminal:
    """A terminal with a shell on it."""

    def __init__(self, folder):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = {**os.environ, "PS1": "READY$ ", "TMPDIR": str(folder), "TERM": "dumb", "HISTFILE": "/dev/null"}
            environment.pop("PROMPT_COMMAND", None)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.seen = ""
        self.until("READY$ ")

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, text):
        """What the terminal shows, up to and with this text; what comes after is left for the next time."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} does not appear after {self.seen!r}"
            if select.select([self.fd], [], [], 1)[0]:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
        shown, _, self.seen = self.seen.partition(text)
        return shown + text

    def command(self, line):
        self.type(line + "\n")
        return self.until("READY$ ")

    def status(self):
        self.type("echo status=$?.\n")
        self.until("status=$?.")  # as it was typed
        self.until("status=")
        return int(self.until(".")[:-1])

    def hang_up(self):
        """The terminal goes away, and all that is on it is told so."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        end = time.monotonic() + PATIENCE
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.05)


@pytest.fixture
def terminal(tmp_path):
    one = Terminal(tmp_path)
    yield one
    one.hang_up()
    # The private folder goes with its run, whatever became of that.
    end = time.monotonic() + PATIENCE
    while list(tmp_path.glob("bmcpair-run.*")):
        assert time.monotonic() < end, f"{list(tmp_path.iterdir())} is left"
        time.sleep(0.05)


def test_a_run_is_stopped_continued_and_interrupted_from_the_keyboard(terminal):
    terminal.type(RUN + TICKING)
    terminal.until("up\r\n")
    terminal.type(SUSPEND)
    terminal.until("READY$ ")
    assert "Stopped" in terminal.command("jobs")
    terminal.type("fg\n")
    terminal.until("went on\r\n")
    terminal.type(INTERRUPT)
    terminal.until("READY$ ")
    assert terminal.status() == 128 + signal.SIGINT


def test_a_run_goes_on_in_the_background_and_ends_there_when_told(terminal):
    terminal.type(RUN + TICKING)
    terminal.until("up\r\n")
    terminal.type(SUSPEND)
    terminal.until("READY$ ")
    terminal.command("bg")
    assert "Running" in terminal.command("jobs")
    terminal.command("kill %1; wait %1")
    assert terminal.status() == 128 + signal.SIGTERM


def test_the_program_reads_what_is_typed(terminal):
    terminal.type(RUN + "sed -u s/^/read_/\n")
    terminal.type("one\n")
    terminal.until("read_one\r\n")
    terminal.type(END_OF_INPUT)
    terminal.until("READY$ ")
    assert terminal.status() == 0


def test_a_shell_inside_has_its_own_job_control_and_can_suspend_itself(terminal):
    # In pieces: the outer shell shows the command line with each fg, and that is not the prompt.
    terminal.type(RUN + "env PS1=INS''IDE'$ ' bash --norc --noprofile -i\n")
    terminal.until("INSIDE$ ")
    # One process: a shell that forks may be stopped before it has, and then waits for its child without being stopped.
    terminal.type("sed -u s/^/read_/\n")
    terminal.type("one\n")
    terminal.until("read_one\r\n")
    terminal.type(SUSPEND)
    terminal.until("Stopped")
    terminal.until("INSIDE$ ")
    terminal.type("fg\n")
    terminal.type("two\n")
    terminal.until("read_two\r\n")
    terminal.type(INTERRUPT)
    terminal.until("INSIDE$ ")
    terminal.type("suspend\n")
    terminal.until("READY$ ")
    assert "Stopped" in terminal.command("jobs")
    terminal.type("fg\n")
    terminal.until("INSIDE$ ")
    terminal.type("exit 7\n")
    terminal.until("READY$ ")
    assert terminal.status() == 7


def test_a_terminal_that_goes_away_ends_the_run(terminal, tmp_path):
    # exec: no shell in between that would pass it on, as with `ssh -t` or `docker run -it`.
    mark = tmp_path / "hung up"
    terminal.type(f"exec {RUN} sh -c 'trap \"touch \\\"{mark}\\\"; exit\" HUP; echo u\"\"p; while :; do sleep 0.1; done'\n")
    terminal.until("up\r\n")
    terminal.hang_up()
    assert mark.exists()
