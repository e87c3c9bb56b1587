"""The taxonomies as data: every code and every reason has its place, also those of another version."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DEARER, ERRORS, INTERRUPTED, OUT_OF_BUDGET, SERVER_GONE, error_code, stop_reason, what_to_do
from bench.load.coordinator import ON_LOCUSTS_PAGE
from bench.runs.records import NEVER_SENT


def test_what_was_never_sent_is_billed_by_nobody_and_no_failure() -> None:
    never = [ERRORS[code] for code in NEVER_SENT if code != "unfinished"]
    assert {(each.sent, each.billed) for each in never} == {(False, "no")}
    assert {each.counts_as for each in never} == {"dropped", "unfinished"}
    assert all(each.billed == "no" for each in ERRORS.values() if each.sent is False)


@given(code=st.text(max_size=12) | st.sampled_from([*ERRORS, "http_429", "http_599", "http_x"]))
@settings(max_examples=50, deadline=None)
def test_every_code_has_a_remedy_and_is_counted(code: str) -> None:
    assert what_to_do(code)
    assert error_code(code).counts_as in ("failed", "dropped", "unfinished")


def test_a_reason_is_known_by_how_it_begins() -> None:
    said = (ON_LOCUSTS_PAGE, OUT_OF_BUDGET, DEARER, f"{SERVER_GONE}: it ended (exit code 1)", "the disk is full")
    assert [stop_reason(each).exit_code for each in said] == [130, 4, 4, 3, 3]
    assert [stop_reason(each).unsent for each in said] == [
        "unfinished", "budget", "unfinished", "not_sent", "unfinished",
    ]  # fmt: skip
    assert stop_reason(INTERRUPTED).exit_code == 130
