"""What tests fork from a process that has made its imports is a program as any other (`harness.warm`)."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system import children, eventually, running
from harness.warm import Program, python, ran

PLACE = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), __name__]))
print("told", file=sys.stderr)
sys.exit(3)
"""


def test_it_has_arguments_a_folder_an_environment_streams_and_an_exit_code_of_its_own(tmp_path):
    environment = {"ONLY": "this", "PATH": os.environ["PATH"]}
    forked = ran("-c", PLACE, "a", "b c", cwd=tmp_path, env=environment)
    new = subprocess.run(
        [sys.executable, "-c", PLACE, "a", "b c"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told, expected = json.loads(forked.stdout), json.loads(new.stdout)
    for place in (told, expected):
        place[2].pop("LC_CTYPE", None)  # that a new interpreter sets for itself
    assert told == expected
    assert (forked.returncode, forked.stderr) == (new.returncode, new.stderr) == (3, "told\n")


@pytest.mark.parametrize(
    "text",
    [
        "import atexit; atexit.register(print, 'late'); print('early', end=' ')",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()",
        "import sys; sys.stdout.close(); sys.exit(7)",
        "import sys; print('out', end=''); sys.exit('why')",
        "print('out', end=''); raise ValueError('wrong')",
        "import sys; sys.exit(300)",
    ],
)
def test_it_ends_as_another_one(text):
    forked = ran("-c", text)
    new = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (forked.returncode, forked.stdout) == (new.returncode, new.stdout)
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


def test_it_reads_and_writes_pipes_and_ends_by_signals(request):
    echo = "print(input(), flush=True)\nimport time\ntime.sleep(60)"
    with python("-c", echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert isinstance(program, Program) is not request.config.getoption("cold")
        print("hello", file=program.stdin, flush=True)
        assert program.stdout.readline() == "hello\n"
        assert program.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.01)
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == -signal.SIGTERM


def test_it_can_lead_a_session_and_has_one_thread():
    text = "import os; print(os.getsid(0) == os.getpid(), len(os.listdir('/proc/self/task')))"
    assert [ran("-c", text, start_new_session=leads).stdout for leads in (True, False)] == [
        "True 1\n",
        "False 1\n",
    ]


def test_the_processes_of_a_node_are_as_those_of_a_new_interpreter(tmp_path):
    with running(tmp_path, "digits: {stable: digits/1}") as up:
        supervisor = up.process.popen.pid
        [first] = children(supervisor, "serving.host.fork_server")
        assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{first}/environ").read_bytes().split(b"\0")
        os.kill(first, signal.SIGKILL)
        eventually(
            lambda: set(children(supervisor, "serving.host.fork_server")) - {first}, "there is another"
        )
        kinds = ("control", "router.worker")
        before = {kind: children(supervisor, kind) for kind in kinds}
        for kind in kinds:
            os.kill(before[kind][0], signal.SIGKILL)
            eventually(
                lambda kind=kind: set(children(supervisor, kind)) - set(before[kind]), "it is replaced"
            )
        up.wait_ready()
