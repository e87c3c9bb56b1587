"""Campaigns whose runs end, are interrupted or killed, run out of money, and are gone on with."""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run import summary
from analysis.run.summary import RunSummary
from bench.app.campaign import ASIDE, FILE, Campaign, Outcome, begun, is_done, make_run
from bench.app.results import code_of_stop
from bench.app.run import never
from bench.errors import DEARER, INTERRUPTED, OUT_OF_BUDGET, SERVER_GONE
from bench.exit_codes import EXIT_INTERRUPTED, worst_of
from bench.load.spend import Admission, Budget, Ledger
from bench.runs import folder as files
from bench.types import UserError
from tests.bench.app.asked import AT, request
from tests.summaries import MANIFEST, slo_result, summary_of

NAMES = ("01", "b/02", "03")
FULL_STOP = "it has said what it was to say"
DOLLAR = 10**12

ENDS = ("ends", "misses", "invalid", "full stop")
STOPS = {"ctrl-c": INTERRUPTED, "server dies": f"{SERVER_GONE}: it ended", "dearer": DEARER}
BEFORE = ("refused", "ctrl-c before")
KILLS = ("killed before", "killed in load", "killed after load", "killed in results")
FATES = (*ENDS, *STOPS, *BEFORE, *KILLS, "disk full in results", "ctrl-c in results")
CODES = {"ends": 0, "full stop": 0, "misses": 1, "invalid": 3}


class Killed(BaseException):
    """kill -9: nothing of what follows in the process happens."""


@dataclass
class World:
    """Makes runs up, each with the next of `fates`, and keeps the truth about them beside their folder.

    `ended` has the number of each load that came to its end in a way that can be used; `billed` is in pico-dollars.
    A kill leaves the folder as it was at that moment, in `at_kill`.
    """

    folder: Path
    fates: list[str]
    needs_trust: bool
    made: int = 0
    billed: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    fate_of: dict[str, str] = field(default_factory=dict)
    at_kill: Path | None = None
    fate: str = "ends"

    def campaign(self) -> Campaign:
        def is_usable(summary: RunSummary) -> bool:
            return not self.needs_trust or summary.verdict.status != "invalid"

        return Campaign(self.folder, frozenset({FULL_STOP}), is_usable)

    def observe(self, request: Any, server: Any = None, stop: Any = None) -> str | None:
        name = str(request.out.relative_to(self.folder))
        assert name not in self.ended, f"{name} is done, and was made again"
        assert request.costs.budget.account == self.folder / files.LEDGER
        self.fate = fate = self.fates.pop(0) if self.fates else "ends"
        with files.new(request.out):
            Ledger.open_account(request.costs.budget.account, request.costs.budget.cap_usd)
            ledger = Ledger(request.costs.budget.account)
            self._pay(ledger, DOLLAR // 10)  # the rehearsal
            if fate == "refused":
                raise UserError("no server there")
            if fate == "ctrl-c before":
                raise KeyboardInterrupt
            self._kill_if("killed before")
            self.made += 1
            self._write(request.out, name, interrupted=True, stopped=None)
        if not self._pay(ledger, DOLLAR):
            fate = self.fate = "money"
            self._write(request.out, name, interrupted=True, stopped=OUT_OF_BUDGET)
            return OUT_OF_BUDGET
        if fate == "killed in load":
            if ledger.reserve(DOLLAR // 2) is Admission.NOW:
                self.billed += DOLLAR // 2  # who knows: it was in flight
            self._kill_if("killed in load")
        stopped = FULL_STOP if fate == "full stop" else STOPS.get(fate)
        self._write(request.out, name, interrupted=stopped is not None, stopped=stopped)
        if fate not in STOPS and not (fate == "invalid" and self.needs_trust):
            self.ended[name] = self.made
        self.fate_of[name] = fate if fate in CODES else "ends"
        self._kill_if("killed after load")
        return stopped

    def conclude(self, folder: Path) -> RunSummary:
        if self.fate == "disk full in results":
            self.fate = "ends"
            raise UserError("no space left")
        if self.fate == "ctrl-c in results":
            self.fate = "ends"
            raise KeyboardInterrupt
        self._kill_if("killed in results")
        fate = self.fate_of.get(str(folder.relative_to(self.folder)), "ends")
        reason = {"code": "nothing_succeeded", "message": "lost"}
        found = summary_of(
            {
                "verdict": {"status": "invalid" if fate == "invalid" else "valid", "reasons": [reason]},
                "slo": [slo_result(fate != "misses")],
            }
        )
        summary.write(folder, found)
        return found

    def _pay(self, ledger: Ledger, amount: int) -> bool:
        if ledger.reserve(amount) is not Admission.NOW:
            return False
        self.billed += amount
        ledger.settle(amount, amount)
        return True

    def _write(self, out: Path, name: str, *, interrupted: bool, stopped: str | None) -> None:
        content = MANIFEST | {"schema": 1, "number": self.made, "interrupted": interrupted, "stopped": stopped}
        files.write_json(out / files.RUN, content)

    def _kill_if(self, fate: str) -> None:
        if self.fate == fate:
            self.fate = "ends"
            self.at_kill = Path(tempfile.mkdtemp(dir=self.folder.parent))
            shutil.copytree(self.folder, self.at_kill, dirs_exist_ok=True)
            raise Killed

    def command(self, cap_usd: int, names: Sequence[str] = NAMES) -> list[Outcome]:
        """Make all runs, or go on with them, as every command does; gives what became of those that it came to."""
        budget = Budget(Decimal(cap_usd), None, "m", AT, None)
        outcomes: list[Outcome] = []
        try:
            with begun(self.folder, "study", {"model": "m"}):
                for name in names:
                    made = make_run(self.campaign(), name, request(self.folder, budget), self)
                    outcomes.append(made)
                    if made.problem is not None:
                        break
        except Killed:
            assert self.at_kill is not None
            shutil.rmtree(self.folder, ignore_errors=True)
            self.at_kill.rename(self.folder)
        return outcomes


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(FATES), max_size=12),
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
    st.booleans(),
)
def test_whatever_befalls_it_no_run_is_made_twice_or_lost_nothing_spent_forgotten_and_the_worst_code_counts(
    fates: list[str], caps: list[int], needs_trust: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place) / "out", fates, needs_trust)
        for cap_usd in caps:
            outcomes = world.command(cap_usd)
            assert world.billed == spent(world.folder)
            for name, number in world.ended.items():
                assert files.read_json(world.folder / name, files.RUN)["number"] == number
            for made in outcomes:
                if made.problem is None:
                    assert made.code == CODES[world.fate_of[made.name]]
                else:
                    assert made.code > 1 and made is outcomes[-1]
        world.fates.clear()
        outcomes = world.command(1000)
        assert [made.name for made in outcomes] == list(NAMES)
        assert all(made.problem is None for made in outcomes)
        assert worst_of(made.code for made in outcomes) == max(CODES[world.fate_of[name]] for name in NAMES)
        assert all(is_done(world.campaign(), name) for name in NAMES)
        made_before = world.made
        world.command(1000)
        assert world.made == made_before
        assert world.billed == spent(world.folder)


def spent(folder: Path) -> int:
    account = folder / files.LEDGER
    return int(Ledger.spending(account).spent_usd * DOLLAR) if account.exists() else 0


@pytest.mark.parametrize(
    ("fate", "code", "problem"),
    [
        ("ctrl-c", 130, f"stopped early: {INTERRUPTED}"),
        ("ctrl-c before", 130, f"stopped early: {INTERRUPTED}"),
        ("ctrl-c in results", 130, f"stopped early: {INTERRUPTED}"),
        ("server dies", 3, f"stopped early: {SERVER_GONE}: it ended"),
        ("dearer", 4, f"stopped early: {DEARER}"),
        ("invalid", 3, "is not to be trusted: lost"),
        ("disk full in results", 3, "has no results: no space left"),
        ("refused", 2, "no server there"),
        ("misses", 1, None),
        ("full stop", 0, None),
        ("ends", 0, None),
    ],
)
def test_each_end_of_a_run_has_its_code_and_says_why_it_cannot_be_gone_on_from(
    tmp_path: Path, fate: str, code: int, problem: str | None
) -> None:
    world = World(tmp_path / "out", [fate], needs_trust=True)
    assert world.command(9, ["01"]) == [Outcome("01", code, problem)]


def test_the_cap_is_one_for_all_runs_of_all_commands_and_may_be_raised(tmp_path: Path) -> None:
    world = World(tmp_path / "out", ["ends", "ctrl-c"], needs_trust=False)
    assert [made.code for made in world.command(3)] == [0, 130]
    assert world.command(3)[-1] == Outcome("b/02", 4, f"stopped early: {OUT_OF_BUDGET}")
    assert [made.code for made in world.command(9)] == [0, 0, 0]


def test_what_is_of_no_use_lies_aside_and_is_never_read_again(tmp_path: Path) -> None:
    world = World(tmp_path / "out", ["ends", "ctrl-c", "killed in load"], needs_trust=False)
    for _ in range(3):
        world.command(99)
    assert sorted(path.name for path in (world.folder / ASIDE).iterdir()) == ["b-02-1", "b-02-2"]
    assert is_done(world.campaign(), "b/02")


def test_a_run_that_only_lacks_its_results_is_concluded_and_not_made_again(tmp_path: Path) -> None:
    world = World(tmp_path / "out", ["killed after load"], needs_trust=False)
    world.command(9, ["01"])
    assert not is_done(world.campaign(), "01")
    assert world.command(9, ["01"]) == [Outcome("01", 0)]
    assert world.made == 1


def test_results_that_were_made_of_an_interrupted_run_by_hand_do_not_make_it_done(tmp_path: Path) -> None:
    world = World(tmp_path / "out", ["killed in load"], needs_trust=False)
    world.command(9, ["01"])
    world.conclude(world.folder / "01")
    world.command(9, ["01"])
    assert world.made == 2


# --- the folder ---------------------------------------------------------------------------------------------------


def test_another_question_is_refused_in_one_line_that_names_what_differs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out, "study", {"model": "m", "seed": 1, "old": 1}):
        (out / "01").mkdir()
        (out / "01" / files.RUN).touch()
    with (
        pytest.raises(
            UserError,
            match=rf"^--out {out}: holds runs of study with different model, new, old; choose another folder$",
        ),
        begun(out, "study", {"model": "n", "seed": 1, "new": 2}),
    ):
        pass
    with pytest.raises(UserError, match="holds runs of study, not of ab"), begun(out, "ab", {}):
        pass


def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="expected a new or empty folder"), begun(tmp_path, "study", {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UserError, match="this is a file"), begun(tmp_path / "mine", "study", {}):
        pass


def test_two_commands_cannot_be_at_work_in_one_folder(tmp_path: Path) -> None:
    with begun(tmp_path, "study", {}):
        with pytest.raises(UserError, match="another command is using it"), begun(tmp_path, "study", {}):
            pass
        assert (tmp_path / FILE).exists()
    with begun(tmp_path, "study", {}):
        pass


def test_where_nothing_was_measured_nothing_is_left_but_what_the_error_names(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with suppress(KeyboardInterrupt), begun(out, "study", {}):
        raise KeyboardInterrupt
    assert not out.exists()
    with suppress(UserError), begun(out, "study", {}):
        (out / "server.log").touch()
        (out / "a").mkdir()
        raise UserError(f"it ended; see {out}/server.log")
    assert sorted(path.name for path in out.iterdir()) == [FILE, "server.log"]
    with begun(out, "study", {}):  # it can be gone on with all the same
        pass


def test_a_command_that_was_killed_as_it_began_is_no_obstacle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{FILE}.partial").touch()
    with begun(out, "study", {}):
        assert (out / FILE).exists()


def test_the_worst_code_is_130_then_4_3_2_1_and_0() -> None:
    codes = [0, 1, 2, 3, 4, EXIT_INTERRUPTED]
    assert [worst_of(codes[:n]) for n in range(7)] == [0, *codes]
    stops = (None, SERVER_GONE, OUT_OF_BUDGET, DEARER, INTERRUPTED, f"{INTERRUPTED} on Locust's web page")
    assert list(map(code_of_stop, stops)) == [0, 3, 4, 4, 130, 130]
    assert never(None) is None  # type: ignore[arg-type,func-returns-value]
