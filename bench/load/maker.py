"""A process beside the load's makes its requests, so that all the load has to do is send them.

They come down a pipe and lie in no file, for the key is in them. A full pipe makes the maker wait, so what lies ready
is bounded. It is nicer than the load, which goes first where cores are short, and makes what it lacks itself.
"""

import fcntl
import os
import pickle
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from bench.load.controller import LoadSpec
from bench.load.targets import Encode
from bench.process.module import start_module
from bench.types import Call
from bench.wire import http1
from bench.wire.endpoint import endpoint

_MODULE = "bench.app.request_process"
_NICER = 10
_PIPE_BYTES, _WRITE_BYTES = 1 << 20, 1 << 16
# Which of the worker's calls, the call's number, when it is due (-1: nobody knows), length of the request
_HEAD = struct.Struct("<qqqI")


class MadeRequest(NamedTuple):
    """A request as bytes: the worker's `place`-th, of the call `seq`."""

    place: int
    seq: int
    due_ns: int | None
    request: bytes


def encoder(spec: LoadSpec, encode: Encode, announce: Callable[[Call], None] | None = None) -> Callable[[Call], bytes]:
    """Give the function from a call to the bytes that are sent; each call is announced first."""
    target, host = spec.target, endpoint(spec.target.url).host_header

    def prepare(call: Call) -> bytes:
        if announce is not None:
            announce(call)
        return http1.encode_request(encode(call, target), host)

    return prepare


def start_maker(spec: LoadSpec, first: int) -> "subprocess.Popen[bytes]":
    """Start making a worker's requests from the `first`-th on, into the standard output of the process."""
    process = start_module(_MODULE, os.environ)
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died: then it makes none
        process.stdin.write(pickle.dumps((replace(spec, keys=None), first)))
        process.stdin.flush()
    return process


def make(calls: Iterable[Call], first: int, prepare: Callable[[Call], bytes], out: int) -> None:
    """Write requests to a pipe until there are no more calls, or no reader; the first has the place `first`."""
    os.nice(_NICER)
    with suppress(OSError):  # a system may allow less
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    waiting = bytearray()
    with suppress(BrokenPipeError):
        for place, call in enumerate(calls, first):
            request = prepare(call)
            waiting += _HEAD.pack(place, call.seq, -1 if call.due_ns is None else call.due_ns, len(request)) + request
            if len(waiting) >= _WRITE_BYTES:
                _write(out, waiting)
        _write(out, waiting)


def whole(data: bytearray) -> Iterator[MadeRequest]:
    """Take the requests that are there whole from the beginning of what was read."""
    at = 0
    while at + _HEAD.size <= len(data):
        place, seq, due_ns, length = _HEAD.unpack_from(data, at)
        start, stop = at + _HEAD.size, at + _HEAD.size + length
        if stop > len(data):
            break
        yield MadeRequest(place, seq, None if due_ns < 0 else due_ns, bytes(data[start:stop]))
        at = stop
    del data[:at]


def _write(out: int, waiting: bytearray) -> None:
    while waiting:
        del waiting[: os.write(out, waiting)]
