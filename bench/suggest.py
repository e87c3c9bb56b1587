"""The known name that somebody may have meant who wrote an unknown one: offered where one is near, and nowhere else."""

from collections.abc import Iterable
from difflib import get_close_matches

_NEAR = 0.6
"""How alike two names must be, from 0 to 1: about two letters of five may be others."""
_SHORTEST_PART = 3


def nearest(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """The known names near to this one, whatever its case, the nearest first; none where nothing is near.

    Those that begin with what was written, else those spelled alike, else those that contain it, if it is no shred.
    """
    by_plain, plain = {each.casefold(): each for each in known}, name.casefold()
    begun = sorted((each for each in by_plain if plain and each.startswith(plain)), key=len)
    alike = get_close_matches(plain, by_plain, most, _NEAR)
    within = [each for each in by_plain if len(plain) >= _SHORTEST_PART and plain in each]
    return [by_plain[each] for each in begun or alike or within][:most]


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """The end of an error's line that offers what is near, empty where nothing is."""
    near = nearest(name, known, most)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
