import os
from typing import get_args

import pytest

from analysis.compare.gate import Round
from bench.app.gate import rounds
from bench.app.gate.reference import ROOT, Reference, between
from bench.app.options import GatePart
from bench.truth import server as truth


def test_what_can_be_measured_is_what_the_command_offers() -> None:
    assert get_args(GatePart) == rounds.PARTS


@pytest.mark.parametrize("part", rounds.ENGINES)
def test_an_engines_run_is_fixed_so_that_its_plan_is_the_same_everywhere(part: str) -> None:
    request = rounds._request(part, ROOT / "results" / "none")
    work = request.workload
    assert (request.backend.name, work.scenario.name, work.seed) == (part, "smoke", 0)
    assert (work.load.concurrency, work.cache) == (2, "cold")
    assert work.load.requests is not None


def test_variables_are_set_for_what_is_started_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_KEPT", "before")
    monkeypatch.delenv("GATE_NEW", raising=False)
    with rounds._environment({"GATE_KEPT": "meanwhile", "GATE_NEW": "1"}):
        assert (os.environ["GATE_KEPT"], os.environ["GATE_NEW"]) == ("meanwhile", "1")
    assert (os.environ["GATE_KEPT"], os.environ.get("GATE_NEW")) == ("before", None)


def test_the_reference_of_what_was_measured_lies_between_those_before_and_after() -> None:
    assert between(Reference(1.0, 4.0), Reference(3.0, 6.0)) == Reference(2.0, 5.0)


def test_the_cpu_time_of_a_server_that_is_gone_is_not_an_error() -> None:
    assert rounds._cpu_s(2**22 - 1) == 0.0
    assert rounds._cpu_s(os.getpid()) > 0


def test_parts_take_turns_in_this_order_and_the_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def reference() -> Reference:
        done.append("reference")
        return Reference(1.0, 1.0)

    def measured(name: str) -> object:
        done.append(name)
        return lambda work: Round({}, {})

    monkeypatch.setattr(rounds, "reference", reference)
    monkeypatch.setattr(truth, "compile_server", lambda: done.clear())
    monkeypatch.setattr(rounds, "_client", lambda: measured("client"))
    monkeypatch.setattr(rounds, "_engine", lambda part, *_: (measured(part), "server 1"))
    with rounds.ready(["llamacpp", "client"], ROOT) as measure:
        assert measure(1, ["llamacpp", "client"]).servers == {"llamacpp": "server 1"}
        measure(2, ["llamacpp", "client"])
    first, second = done[:5], done[5:]
    assert first == ["reference", "llamacpp", "reference", "client", "reference"]
    assert second == ["reference", "client", "reference", "llamacpp", "reference"]
