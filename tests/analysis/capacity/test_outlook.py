"""How much of a search is said to be left, held against the search itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.capacity.outlook import _sure, rates_left
from analysis.capacity.search import Limits, Probe, next_probe

RATES = st.floats(0.1, 50.0)


@settings(deadline=None, max_examples=40)
@given(RATES, RATES, st.sampled_from([0.02, 0.05, 0.3, 0.9]), st.integers(1, 5))
def test_what_is_left_ends_with_the_search_and_is_about_as_long(
    capacity: float, closed_loop: float, precision: float, repeats: int
) -> None:
    limits = Limits(precision, repeats, closed_loop, service_s=0.5)
    probes, said = list[Probe](), list[int]()
    while wanted := next_probe(probes, limits):
        said.append(len(list(rates_left(probes, limits))))
        probes.append(_sure(*wanted, is_met=wanted[0] <= capacity))
    assert list(rates_left(probes, limits)) == []
    assert min(said) >= 1
    # Once it is known between which rates the capacity lies, each run is one less.
    for n, left in enumerate(said):
        if {probe.outcome for probe in probes[:n]} == {"met", "saturated"}:
            assert abs(left - (len(probes) - n)) <= 1 + repeats
