"""The form of an answer: what is left of it with blanks in place of names, dates, counts and texts; and an answer that
is filled in by what is known of its form.
"""

import re
from array import array
from bisect import bisect_left
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from backends.dialect import alike
from backends.dialect.alike import AlikeRun
from bench.deltas import Deltas
from bench.types import Body, Reply, Usage

# What may stand in a blank: a name that nobody reads, a text, the texts of a run, a date, and a count: the last one of
# its name again, or a larger one. They begin with a byte that no JSON holds.
NAME, TEXT, RUN, DATE, AGAIN, LARGER = (b"\0" + kind for kind in (b"n", b"t", b"r", b"d", b"a", b"l"))
BLANK = re.compile(rb"(\0.)")
_GROUPS = {
    NAME: rb"([\w.:-]+)",
    TEXT: rb'(%b[^"\\\n]*(?:\\[^\n][^"\\\n]*)*)' % alike.IS_TEXT,
    RUN: b"(\0r)",
    DATE: rb"([1-9]\d{0,11})",
    LARGER: rb"([1-9]\d{0,8})",
}
_VALUE = re.compile(
    rb'("id": ?"(?=[\w.:-]+")|"(?:%b)": ?"|"(?:created|\w{1,40}_tokens)": ?)' % alike.TEXTS
    + rb'((?<=")%b(?:[^"\\\n]|\\[^\n])+(?=")|(?<!")[1-9]\d{0,11}(?=[,}]))' % alike.IS_TEXT
)
# More digits are not those of a count.
_MOST_DIGITS = 9
_LONGEST = 4096


class Arrival(NamedTuple):
    """Output of a kind of `Deltas`: all of a run's, or what is there with so many bytes `behind` a blank.

    The first blank is 1; before it, at 0, an answer begins.
    """

    kind: int
    blank: int
    behind: int
    run: int | None


class Form(NamedTuple):
    """What an answer says, and all else of the reply.

    Its text is of literals, and of texts and runs by the numbers of their blanks. `tokens` are those of its `Deltas`,
    or differences of the counts in the blanks `running`. A count of the usage is a number, or the sum of some blanks.
    """

    text: tuple[str | int, ...]
    arrivals: tuple[Arrival, ...]
    tokens: tuple[int | None, ...] | None
    running: tuple[int, ...]
    usage: tuple[int | tuple[int, ...] | None, ...] | None
    rest: tuple[Any, ...]


class FormPattern(NamedTuple):
    """A form as a pattern with a group for each blank, which of these are texts and runs, and of counts those that
    must be larger than another.
    """

    pattern: re.Pattern[bytes]
    texts: tuple[int, ...]
    runs: tuple[int, ...]
    larger: tuple[tuple[int, int], ...]


def cut(body: Body) -> tuple[bytes, list[AlikeRun]] | None:
    """The body with one event in place of each run; None where it is long even so, or has bytes that no JSON holds."""
    data, runs = body.data, alike.runs(body)
    for run in reversed(runs):
        data = b"%b%b%b%b%b" % (data[: run.start], run.before, RUN, run.after, data[run.stop :])
    return None if len(data) > _LONGEST or data.count(b"\0") != len(runs) else (data, runs)


def form_of(data: bytes, runs: int) -> bytes | None:
    """The form of an answer that is cut and has so many runs; None where a count is less than the last of its name."""
    parts, last, runs_found = _VALUE.split(data), dict[bytes, int](), 0
    for n, (prefix, value) in enumerate(zip(parts[1::3], parts[2::3], strict=True)):
        if value == RUN:
            kind, runs_found = RUN, runs_found + 1
        elif prefix.endswith(b'"'):
            kind = NAME if prefix.startswith(b'"id"') else TEXT
        elif prefix.startswith(b'"created"'):
            kind = DATE
        elif len(value) > _MOST_DIGITS or int(value) < last.get(prefix, 0):
            return None
        else:
            kind, last[prefix] = AGAIN if int(value) == last.get(prefix) else LARGER, int(value)
        parts[3 * n + 2] = kind
    return b"".join(parts) if runs_found == runs else None


def pattern_of(form: bytes) -> FormPattern:
    """The pattern of a form."""
    parts = BLANK.split(form)
    kinds, last, larger = parts[1::2], dict[bytes, int](), list[tuple[int, int]]()
    parts[0::2] = map(re.escape, parts[0::2])
    for n, (kind, name) in enumerate(zip(kinds, names(form), strict=True), 1):
        parts[2 * n - 1] = _GROUPS.get(kind) or b"(\\%d)" % last[name]
        if kind == LARGER and name in last:
            larger.append((last[name], n))
        last[name] = n
    texts, runs = (tuple(n for n, kind in enumerate(kinds, 1) if kind == wanted) for wanted in (TEXT, RUN))
    return FormPattern(re.compile(b"".join(parts)), texts, runs, tuple(larger))


def names(form: bytes) -> list[bytes]:
    """The name before each of a form's blanks."""
    return [literal[literal.rindex(b'"', 0, literal.rindex(b'":')) :] for literal in BLANK.split(form)[:-1:2]]


def filled_in(pattern: FormPattern, form: Form, body: Body, data: bytes, runs: list[AlikeRun]) -> Reply | None:
    """The reply of an answer, given with what it is when it is cut; None where it is not of this form."""
    found = pattern.pattern.fullmatch(data)
    if found is None:
        return None
    # Numbered as the blanks are.
    values = (data, *found.groups())
    if any(int(values[before]) >= int(values[after]) for before, after in pattern.larger):
        return None
    try:
        said: list[str] = orjson.loads(b"[%b]" % b",".join([b'"%b"' % values[n] for n in pattern.texts]))
    except orjson.JSONDecodeError:
        return None
    # White space is no text where an answer begins.
    if any(map(str.isspace, said)):
        return None
    texts = dict(zip(pattern.texts, said, strict=True))
    for n, run in zip(pattern.runs, runs, strict=True):
        texts[n] = run.texts.replace(alike.BETWEEN, "")
    text = "".join([piece if isinstance(piece, str) else texts[piece] for piece in form.text])
    usage = None
    if form.usage is not None:
        counts = [sum([int(values[n]) for n in one]) if isinstance(one, tuple) else one for one in form.usage]
        usage = Usage._make(counts)
    tokens = form.tokens
    if form.running:
        tokens = tuple([int(values[n]) - int(values[last]) for last, n in pairwise(form.running)])
        tokens = int(values[form.running[0]]), *tokens
    arrivals = _arrivals_of_runs if runs else _arrivals
    t_ns, kinds = arrivals(form, body, found, pattern.runs, runs)
    return Reply(text, Deltas.of(t_ns, kinds, tokens), usage, *form.rest)


_Columns = tuple["array[int]", bytearray]


def _arrivals(form: Form, body: Body, found: re.Match[bytes], *_: object) -> _Columns:
    ends, t_ns, end = body.ends, body.t_ns, found.end
    there = [(end(blank) if blank else 0) + behind for _, blank, behind, _ in form.arrivals]
    kinds = bytearray([kind for kind, _, _, _ in form.arrivals])
    return array("q", [t_ns[bisect_left(ends, place)] for place in there]), kinds


def _arrivals_of_runs(
    form: Form, body: Body, found: re.Match[bytes], blanks: tuple[int, ...], runs: list[AlikeRun]
) -> _Columns:
    t_ns, kinds = array("q"), bytearray()
    # So many more bytes than where the answer is cut.
    more, at = 0, 0
    for kind, blank, behind, run in form.arrivals:
        while at < len(runs) and blanks[at] <= blank:
            more += runs[at].stop - runs[at].start - len(runs[at].before) - len(RUN) - len(runs[at].after)
            at += 1
        if run is None:
            place = (found.end(blank) if blank else 0) + behind + more
            t_ns.append(body.t_ns[bisect_left(body.ends, place)])
        else:
            t_ns += runs[run].stamps
        kinds += bytes([kind]) * (len(t_ns) - len(kinds))
    return t_ns, kinds
