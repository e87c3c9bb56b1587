"""`bench.py breakeven` of APIs alone: the bills of each, by the sentence, the table and the JSON alike."""

import json

from tests.commands import bench

TWO = ("--versus", "0.002", "--versus", "0.001", "--requests-per-month")


def test_apis_alone_have_bills_and_the_cheapest_is_named() -> None:
    done = bench("breakeven", *TWO, "2m", "--json")
    assert done.returncode == 0, done.stderr
    ranking = json.loads(done.stdout)["ranking"]
    assert [(bill["name"], bill["usd"]) for bill in ranking["month"]] == [
        ("$0.001 a request", 2000.0),
        ("$0.002 a request", 4000.0),
    ]
    assert (ranking["cheapest"], [span["name"] for span in ranking["spans"]]) == ("$0.001 a request",) * 1 + (
        ["$0.001 a request"],
    )
    said = bench("breakeven", *TWO, "2m").stdout
    assert "the cheapest is $0.001 a request at $2,000.00 a month; $0.002 a request would cost $4,000.00." in said


def test_without_a_volume_or_with_a_price_of_servers_they_are_still_asked_for() -> None:
    for more in (TWO[:-1], (*TWO, "2m", "--usd-per-hour", "2")):
        done = bench("breakeven", *more)
        assert (done.returncode, "--self: expected a run" in done.stderr) == (2, True), done.stderr
