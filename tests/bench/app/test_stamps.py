"""Without the permission for packet stamps: what is taken instead, and what the note says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.packets import watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")

# Gives the capability up for good, or never had it; then asks as a run does.
ASKS = """
import ctypes, json, os, sys
from pathlib import Path
PR_CAPBSET_DROP, CAP_NET_RAW = 24, 13
if sys.argv[1] == "drop":
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_RAW, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], "ask", *sys.argv[2:]])
from bench.app.stamps import note, stamp_source
from bench.types import UserError
folder, asked = Path(sys.argv[2]), sys.argv[3]
try:
    with stamp_source(asked, folder) as source:
        chosen = source.begin(folder, "http://127.0.0.1:1")
        print(json.dumps({"taken": chosen.taken, "pids": len(source.pids), "said": note(chosen)}))
except UserError as problem:
    print(json.dumps({"refused": str(problem)}))
"""


def asked(folder: Path, stamps: str) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, "-c", ASKS, "drop", str(folder), stamps], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def remedy() -> str:
    return "--cap-add NET_RAW" if os.geteuid() == 0 else watch.AS_YOURSELF


def test_without_permission_auto_takes_stamps_of_reads_and_says_what_permits_better(tmp_path: Path) -> None:
    found = asked(tmp_path, "auto")
    assert (found["taken"], found["pids"]) == ("kernel", 0)
    assert found["said"].startswith("arrivals are timestamped per read, not per packet: packet stamps need CAP_NET_RAW")
    assert remedy() in found["said"]


def test_without_permission_packets_are_refused_in_one_line(tmp_path: Path) -> None:
    refused = asked(tmp_path, "packets")["refused"]
    assert refused.startswith("--stamps packets: packet stamps need CAP_NET_RAW") and remedy() in refused
    assert "\n" not in refused


@pytest.mark.parametrize("stamps", ["kernel", "user"])
def test_what_needs_no_permission_is_not_told_that_it_lacks_any(tmp_path: Path, stamps: str) -> None:
    assert asked(tmp_path, stamps) == {"taken": stamps, "pids": 0, "said": None}


def test_whoever_is_not_root_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("socket.socket", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert watch.lacks() == f"packet stamps need CAP_NET_RAW: run {watch.AS_YOURSELF} bench.py ..."


# As `setpriv` does it: another user, who keeps one capability.
BECOMES_NOBODY = """
import ctypes, os
from bench.packets import watch
PR_SET_KEEPCAPS, CAP_NET_RAW, VERSION, NOBODY = 8, 1 << 13, 0x20080522, 65534
libc = ctypes.CDLL(None)
libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
assert "CAP_NET_RAW" in watch.lacks()
wanted = (ctypes.c_uint32 * 6)(CAP_NET_RAW, CAP_NET_RAW, CAP_NET_RAW)
assert libc.capset((ctypes.c_uint32 * 2)(VERSION, 0), wanted) == 0
assert watch.lacks() is None
"""


@pytest.mark.skipif(watch.lacks() is not None or os.geteuid() != 0, reason="needs root with CAP_NET_RAW")
def test_the_capability_alone_is_enough() -> None:
    subprocess.run([sys.executable, "-c", BECOMES_NOBODY], check=True)
