"""The check as a program: on machines that lack what it needs, and on fake drivers with two cards."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.types import UserError
from tests.gpu.__main__ import NEEDS, lacks
from tests.gpu.check import loaded
from tests.gpu.load import ptx
from tests.gpu.smi import SmiAnswer, parsed

ROOT = Path(__file__).parents[2]
FAKE_SMI = ROOT / "tests" / "fixtures" / "fake_nvidia_smi.py"


@pytest.fixture
def fake_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`fake_smi(mode)` puts an nvidia-smi on PATH; see the fixture for its modes."""

    def install(mode: str = "") -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE_SMI}" "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("FAKE_SMI", mode)

    return install


@pytest.fixture
def fake_cuda(fake_driver: Callable[..., None]) -> Callable[..., None]:
    """`fake_cuda(*defines)` gives processes started from here the card of fake_cuda.c."""
    return lambda *defines: fake_driver("libcuda.so.1", "fake_cuda.c", *defines)


def check(*, seconds: float = 0.1, settle: float = 0.1) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.gpu", "--seconds", str(seconds), "--settle", str(settle)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that it says, and nothing else."""
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.splitlines()
    return said


def test_a_machine_without_a_driver_gets_one_line(fake_nvml: Callable[..., None]) -> None:
    fake_nvml("NO_DRIVER")
    needs = "check-gpu: this is for a machine with an NVIDIA GPU: no GPU metrics: Driver Not Loaded"
    assert line(check()) == needs


@pytest.mark.slow
def test_a_machine_without_nvidia_smi_gets_one_line(
    fake_nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml()
    monkeypatch.setenv("PATH", "/nowhere")
    assert line(check()).startswith("check-gpu: nvidia-smi does not run: ")


@pytest.mark.slow
def test_an_nvidia_smi_that_fails_is_quoted(fake_nvml: Callable[..., None], fake_smi: Callable[[str], None]) -> None:
    fake_nvml()
    fake_smi("broken")
    assert line(check()).startswith("check-gpu: nvidia-smi failed: NVIDIA-SMI has failed because")


@pytest.mark.parametrize(
    ("defines", "why"),
    [
        (None, "the NVIDIA driver's library does not load: "),
        pytest.param(["NO_DEVICE"], "cuInit: no CUDA-capable device is detected", marks=pytest.mark.slow),
        pytest.param(["FULL"], "only 3 MiB of the card are free: end what uses it", marks=pytest.mark.slow),
        pytest.param(["BROKEN"], "cuCtxSynchronize: an illegal memory access was encountered", marks=pytest.mark.slow),
    ],
)
def test_a_card_that_cannot_be_loaded_gives_the_drivers_reason_in_one_line(
    defines: list[str] | None,
    why: str,
    fake_nvml: Callable[..., None],
    fake_smi: Callable[[str], None],
    fake_cuda: Callable[..., None],
) -> None:
    fake_nvml()
    fake_smi("")
    if defines is None and shutil.which("nvidia-smi", path="/usr/bin:/usr/local/bin"):
        pytest.skip("this machine has a driver")
    if defines is not None:
        fake_cuda(*defines)
    assert line(check()).startswith(f"check-gpu: no load on the GPU: {why}")


@pytest.mark.slow
@pytest.mark.parametrize(("nvml", "mode"), [("MIG", ""), pytest.param("OLD_DRIVER", "old", marks=pytest.mark.slow)])
def test_two_cards_of_which_one_tells_little(
    nvml: str,
    mode: str,
    fake_nvml: Callable[..., None],
    fake_smi: Callable[[str], None],
    fake_cuda: Callable[..., None],
) -> None:
    fake_nvml(nvml)
    fake_smi(mode)
    fake_cuda()
    done = check(seconds=1.6, settle=0.2)
    assert done.stderr == ""
    cards, table, summary = done.stdout.split("\n\n")
    assert cards.splitlines()[0].startswith(
        "gpu0: Fake H100, driver 580.65.06, " + ("80 GiB" if mode else "memory not told")
    )
    assert cards.splitlines()[-1] == "1.6 s idle, then 1.6 s of load on gpu1"
    rows = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in table.splitlines()[2:]]
    verdicts = {(card, when, what, beside): verdict for card, when, what, _, beside, _, _, _, verdict in rows}
    # The fakes stand still: a load changes nothing of the card, and that is told.
    wrong = {key for key, verdict in verdicts.items() if verdict in ("FAILED", "MISSING")}
    wrong -= {key for key in wrong if key[2] in ("samples", "answers")}  # a busy machine is late with them
    expected = {
        ("gpu1", "idle", "util_pct", "what was done"),
        ("gpu1", "busy", "util_pct", "what was done"),
        ("gpu1", "step", "memory_used_bytes", "what was allocated"),
    }
    if mode == "old":  # its call for memory counts the driver's reserve as used
        expected |= {("gpu1", when, "memory_used_bytes", "nvidia-smi memory.used") for when in ("idle", "busy")}
    assert wrong == expected
    reasons = "clocks_throttle_reasons" if mode == "old" else "clocks_event_reasons"
    same = verdicts["gpu1", "busy", "hardware thermal slowdown", f"nvidia-smi {reasons}.hw_thermal_slowdown"]
    assert (same, verdicts["gpu0", "busy", "power_w", "nvidia-smi power.draw"]) == ("ok", "not told")
    assert summary.strip().endswith("not told")
    assert done.returncode == 1


# --- its parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "value"),
    [("70.00", 70.0), ("0", 0.0), ("[N/A]", None), ("N/A", None), ("[Not Supported]", None), ("[Unknown Error]", None),
     ("", None), ("Active", 1.0), ("Not Active", 0.0), ("[GPU is lost]", None), ("[Insufficient Permissions]", None)],
)  # fmt: skip
def test_what_nvidia_smi_does_not_tell_is_unknown_not_zero(said: str, value: float | None) -> None:
    answer = SmiAnswer(0, 1, parsed(f"3, {said}\n", ("index", "field")))
    assert answer.value(3, "field") == value
    assert answer.value(0, "field") is None


def test_lines_that_are_no_answer_are_left_out() -> None:
    text = "0, 1\nUnable to determine the device handle for GPU0: 17:00.0: GPU is lost\n, 2\n\n1, 3\n"
    assert parsed(text, ("index", "field")) == {
        0: {"index": "0", "field": "1"},
        1: {"index": "1", "field": "3"},
    }


def test_the_loaded_card_is_found_by_its_place_on_the_bus_not_by_cudas_order() -> None:
    cards = {0: "00000000:17:00.0", 1: "00000000:A1:00.0", 2: "00000001:A1:00.0", 3: "[Unknown Error]"}
    assert [loaded(address, cards) for address in ("0000:a1:00.0", "0001:A1:00.0", "0000:17:00.0")] == [1, 2, 0]
    with pytest.raises(UserError, match=r"does not list the card under load, at 0000:99:00\.0"):
        loaded("0000:99:00.0", cards)


@pytest.mark.parametrize("tensor_cores", [True, False])
def test_the_kernel_is_sound_as_text(tensor_cores: bool) -> None:
    text = ptx(tensor_cores=tensor_cores)
    header, body = text.split("{\n", 1)
    assert re.match(r"\.version \d\.\d\n\.target sm_\d\d\n\.address_size 64\n", header)
    statements = [line.strip() for line in body.splitlines() if line.strip() not in ("", "}")]
    assert all(re.fullmatch(r"[A-Z]+:|[@%.a-z][^;]*;", statement) for statement in statements)
    assert text.count("{") == text.count("}") and text.isascii()
    declared = set()
    for names in re.findall(r"\.reg \.\w+ ([^;]+);", body):
        for name in names.split(", "):
            base, _, count = name.partition("<")
            declared |= {f"{base}{i}" for i in range(int(count.strip(">")))} if count else {base}
    special = {"%ctaid", "%ntid", "%tid", "%nctaid"}
    used = set(re.findall(r"%[a-z]+\d*", body)) - special
    assert {name for name in used if not re.search(rf"\.reg [^;]*{name}<", body)} <= declared
    labels = set(re.findall(r"^([A-Z]+):", body, re.MULTILINE))
    assert labels == set(re.findall(r"bra ([A-Z]+);", body))
    assert statements[-1] == "ret;"


@pytest.mark.parametrize(("tensor_cores", "card"), [(True, "sm_80"), (True, "sm_90"), (False, "sm_75")])
def test_the_kernel_assembles(tensor_cores: bool, card: str, tmp_path: Path) -> None:
    if not shutil.which("ptxas"):
        pytest.skip("no ptxas on this machine")
    source = tmp_path / "heat.ptx"
    source.write_text(ptx(tensor_cores=tensor_cores))
    command = ["ptxas", "-v", f"-arch={card}", str(source), "-o", str(tmp_path / "heat.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0 bytes spill stores" in done.stderr


def test_the_load_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse((ROOT / "tests" / "gpu" / "load.py").read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


IMPORTED = """
import sys, importlib.metadata as metadata
before = set(sys.modules)
import tests.gpu.check
of = metadata.packages_distributions()
print(*sorted({module for name in set(sys.modules) - before if (module := name.partition(".")[0]) in of}))
"""


def test_the_check_needs_no_other_packages_than_it_says() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {"analysis", "backends", "bench", "scenarios"}
    assert set(done.stdout.split()) - ours == set(NEEDS)


@pytest.mark.parametrize("missing", [["pyarrow"], ["numpy", "pynvml"], list(NEEDS)])
def test_a_python_that_lacks_packages_is_told_which_in_one_line(missing: list[str]) -> None:
    blocked = f"import sys, runpy; sys.modules.update(dict.fromkeys({missing!r})); "
    run = "runpy.run_module('tests.gpu', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", blocked + run], cwd=ROOT, capture_output=True, text=True)
    packages = ", ".join(NEEDS[name] for name in missing)
    assert line(done).startswith(f"check-gpu: {sys.executable} lacks {packages}: install them there")


def test_a_python_that_is_too_old_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacks() is None
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    assert "older than Python 3.11" in (lacks() or "")
