"""The form of an answer, with blanks for its names, dates, counts and texts; and how a learned form is filled in."""

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

# Kinds of blanks: a name that nobody reads, a text, the texts of a run, a date, and a count, which either repeats the
# last one of its key or is larger. They begin with a byte that JSON cannot contain.
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
# A number of more digits is not a count.
_MOST_DIGITS = 9
_LONGEST = 4096


class Arrival(NamedTuple):
    """Output of a kind of `Deltas`: all of a `run`, or what has arrived with the byte this far `behind` a blank.

    Blanks are numbered from 1; 0 is the beginning of the answer.
    """

    kind: int
    blank: int
    behind: int
    run: int | None


class Form(NamedTuple):
    """What answers of a form say: how to make a reply from the blanks.

    `text` consists of literals and of the numbers of the blanks that hold its texts and runs. `tokens` are those of the
    `Deltas`, unless they are the differences of the running counts in the blanks `running`. Each count of `usage` is a
    number or the sum of some blanks. `rest` is the rest of the reply.
    """

    text: tuple[str | int, ...]
    arrivals: tuple[Arrival, ...]
    tokens: tuple[int | None, ...] | None
    running: tuple[int, ...]
    usage: tuple[int | tuple[int, ...] | None, ...] | None
    rest: tuple[Any, ...]


class FormPattern(NamedTuple):
    """A form as a pattern with a group for each blank.

    `texts` and `runs` are the numbers of such blanks; `larger` has pairs of counts of which the second must be larger.
    """

    pattern: re.Pattern[bytes]
    texts: tuple[int, ...]
    runs: tuple[int, ...]
    larger: tuple[tuple[int, int], ...]


def cut(body: Body) -> tuple[bytes, list[AlikeRun]] | None:
    """The body with one event for each run; None if it is long even so, or has bytes that JSON cannot contain."""
    data, runs = body.data, alike.runs(body)
    for run in reversed(runs):
        data = b"%b%b%b%b%b" % (data[: run.start], run.before, RUN, run.after, data[run.stop :])
    return None if len(data) > _LONGEST or data.count(b"\0") != len(runs) else (data, runs)


def form_of(data: bytes, runs: int) -> bytes | None:
    """The form of an answer, cut, with so many runs; None if a count is smaller than the last one of its key."""
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
    """Make the pattern of a form."""
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
    """The key before each of a form's blanks."""
    return [literal[literal.rindex(b'"', 0, literal.rindex(b'":')) :] for literal in BLANK.split(form)[:-1:2]]


def filled_in(pattern: FormPattern, form: Form, body: Body, data: bytes, runs: list[AlikeRun]) -> Reply | None:
    """The reply to which an answer amounts, given also as `cut` made it; None if it is not of this form."""
    found = pattern.pattern.fullmatch(data)
    if found is None:
        return None
    # By the numbers of the blanks.
    values = (data, *found.groups())
    if any(int(values[before]) >= int(values[after]) for before, after in pattern.larger):
        return None
    try:
        said: list[str] = orjson.loads(b"[%b]" % b",".join([b'"%b"' % values[n] for n in pattern.texts]))
    except orjson.JSONDecodeError:
        return None
    # White space at the start of an answer is no output, which the form does not know of.
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
    # How many more bytes the body has up to here than the cut answer.
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
