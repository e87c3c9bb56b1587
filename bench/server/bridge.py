"""Lets any program answer like a server, with nothing between its output and the wire.

Strategy, that of inetd: for each request a process is started whose standard output IS the connection. What the program
writes goes to the client as it is flushed, stamped on arrival by the kernel like any server's, and this process neither
reads nor delays it. It writes the HTTP head before, and after the program's end one record of how that was: exit code,
last words on standard error, CPU and memory. Where the client hangs up, the program and all of its group are killed.

Other programs load for a while before they can answer. Kept, as many of them as there are slots live on: each reads a
line of JSON for a request and writes lines of JSON, up to one that ends the answer. Those lines are handed on.

`bridge.py PORT process|kept SLOTS WORD…`: no shell sees the words. {prompt}, {output_tokens} and so on in them stand
for a request's values; without {prompt} the prompt goes to standard input. It is run by its path, and so imports
nothing but the standard library.
"""

import json
import os
import queue
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from hashlib import sha256
from typing import IO, Any

HOST = "127.0.0.1"
END = b"\n\0end of the program "
"""Before the record of how a program ended. It is the last thing in an answer, whatever the program wrote before it."""

PLACE = re.compile(r"\{([a-z_]+)\}")
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\nX-Answer: {}\r\n{}\r\n"
_LAST_WORDS_BYTES = 2000
_POLL_S = 0.1
_READ_BYTES = 65536
_SOON_S = 0.002


class Bridge:
    """What all requests share; each is answered in a thread of its own, which mostly waits."""

    def __init__(self, mode: str, slots: int, words: list[str]) -> None:
        self.mode = mode
        self.words = words
        self.idle: queue.SimpleQueue[KeptProcess | None] = queue.SimpleQueue()
        for _ in range(slots):
            self.idle.put(None)
        self._lock = threading.Lock()
        self.running = self.ended = 0
        self.cpu_s = 0.0
        self.peak_rss_bytes = 0

    def serve(self, listener: socket.socket) -> None:
        """Answer whoever connects, for ever."""
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            path, body = _request(connection)
            if path == "/health":
                _reply(connection, json.dumps({"mode": self.mode, "words": self.words}))
            elif path == "/metrics":
                _reply(connection, self._metrics())
            elif path == "/run":
                self._count(1)
                try:
                    run = self._run_kept if self.mode == "kept" else self._run
                    run(connection, json.loads(body))
                finally:
                    self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self.running += change

    def _account(self, usage: Any) -> dict[str, float]:
        """Take in what an ended process has used; ru_maxrss is in KiB, on macOS in bytes."""
        cpu_s = usage.ru_utime + usage.ru_stime
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        with self._lock:
            self.ended += 1
            self.cpu_s += cpu_s
            self.peak_rss_bytes = max(self.peak_rss_bytes, peak)
        return {"cpu_s": cpu_s, "peak_rss_bytes": peak}

    def _metrics(self) -> str:
        return (
            f"exec:running {self.running}\nexec:ended_total {self.ended}\nexec:cpu_seconds_total {self.cpu_s}\n"
            f"exec:peak_rss_bytes {self.peak_rss_bytes}\n"
        )

    # --- a process for each request ---------------------------------------------------------------------------------

    def _run(self, connection: socket.socket, values: dict[str, Any]) -> None:
        prompt = str(values["prompt"]).encode()
        echo = f"X-Prompt-Bytes: {len(prompt)}\r\nX-Prompt-Sha256: {sha256(prompt).hexdigest()}\r\n"
        connection.sendall(_HEAD.format("text", echo).encode())
        with tempfile.TemporaryFile() as given:
            if not any("{prompt}" in word for word in self.words):
                given.write(prompt)
                given.seek(0)
            try:
                process = subprocess.Popen(
                    [filled(word, values) for word in self.words],
                    stdin=given,
                    stdout=connection.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except (OSError, ValueError) as problem:
                _end(connection, _failed(problem))
                return
        assert process.stderr is not None
        with process.stderr:
            said, status, usage = _watch(process, process.stderr, connection)
        if status is not None:
            _end(connection, {"exit": status, "stderr": said, **self._account(usage)})

    # --- processes that are kept ------------------------------------------------------------------------------------

    def _run_kept(self, connection: socket.socket, values: dict[str, Any]) -> None:
        connection.sendall(_HEAD.format("lines", "").encode())
        kept = self.idle.get()  # as many wait here as there are more requests than processes
        how: dict[str, Any] = {"exit": 0, "stderr": ""}
        try:
            if kept is None:
                kept = KeptProcess([filled(word, values) for word in self.words])
            if not kept.ask(values, connection):
                status, usage = kept.end()
                how = {"exit": status, "stderr": kept.last_words(), **self._account(usage)}
                kept = None
        except (OSError, ValueError) as problem:
            if kept is not None:
                self._account(kept.end()[1])
            kept, how = None, _failed(problem)
        finally:
            self.idle.put(kept)
        _end(connection, how)


class KeptProcess:
    """One process that answers request after request, by lines."""

    def __init__(self, words: list[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        self._said = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):
            while data := os.read(self._process.stderr.fileno(), _READ_BYTES):
                self._said = (self._said + data)[-_LAST_WORDS_BYTES:]

    def last_words(self) -> str:
        """The end of what it said on standard error."""
        return self._said.decode("utf-8", "replace")

    def ask(self, values: dict[str, Any], connection: socket.socket) -> bool:
        """Hand one request to it and its lines to the client; False where it ended instead, OSError where that did."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(values).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return False
        out, line = process.stdout.fileno(), b""
        while True:
            ready, _, _ = select.select([out, connection.fileno()], [], [])
            if connection.fileno() in ready:
                raise ConnectionResetError("the client has gone")
            data = os.read(out, _READ_BYTES)
            if not data:
                return False
            connection.sendall(data)
            *lines, line = (line + data).split(b"\n")
            if any(ends_answer(each) for each in lines):
                return True

    def end(self) -> tuple[int, Any]:
        """Kill it, if it still lives: its exit code and what it used."""
        _kill(self._process)
        self._listener.join(_POLL_S)
        return _reap(self._process, 0)  # type: ignore[return-value]


def ends_answer(line: bytes) -> bool:
    """Whether a line of a kept program is its answer's last: null, or an object that has no text."""
    try:
        value = json.loads(line) if line.strip() else ""
    except ValueError:
        return False
    return value is None or (isinstance(value, dict) and "text" not in value)


def filled(word: str, values: dict[str, Any]) -> str:
    """A word with a request's values in it; what they hold is not looked at again."""
    return PLACE.sub(lambda found: str(values.get(found[1], found[0])), word)


# --- watching ---------------------------------------------------------------------------------------------------------


def _watch(
    process: "subprocess.Popen[bytes]", stderr: IO[bytes], connection: socket.socket
) -> tuple[str, int | None, Any]:
    """Wait for the program's end: its last words, exit code and usage; killed, with None, where the client has gone."""
    said, watched = b"", [stderr.fileno(), connection.fileno()]
    while True:
        ready, _, _ = select.select(watched, [], [], _POLL_S)
        if stderr.fileno() in ready:
            data = os.read(stderr.fileno(), _READ_BYTES)
            said = (said + data)[-_LAST_WORDS_BYTES:]
            if not data:
                watched.remove(stderr.fileno())
        if connection.fileno() in ready:
            _kill(process)
            _reap(process, 0)
            return "", None, None
        if stderr.fileno() in ready and stderr.fileno() in watched:
            continue
        if (ended := _reap(process, os.WNOHANG)) is not None:
            _kill(process)  # what it left behind would write after its end
            return said.decode("utf-8", "replace"), *ended
        if stderr.fileno() not in watched:
            select.select([connection], [], [], _SOON_S)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program with all of its group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)


def _reap(process: "subprocess.Popen[bytes]", flags: int) -> tuple[int, Any] | None:
    pid, status, usage = os.wait4(process.pid, flags)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


# --- HTTP, as much as our own client needs ----------------------------------------------------------------------------


def _request(connection: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while len(body) < (int(length[1]) if length else 0):
        body += _more(connection)
    return head.split(b" ")[1].partition(b"?")[0].decode(), body


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(_READ_BYTES)
    if not data:
        raise ConnectionResetError("the client has gone")
    return data


def _reply(connection: socket.socket, text: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {len(text.encode())}"
    connection.sendall(f"{head}\r\n\r\n{text}".encode())


def _failed(problem: OSError | ValueError) -> dict[str, str]:
    return {"failed": getattr(problem, "strerror", None) or str(problem)}


def _end(connection: socket.socket, how: dict[str, Any]) -> None:
    with suppress(OSError):
        connection.sendall(END + json.dumps(how).encode() + b"\n")


def main(port: str, mode: str, slots: str, *words: str) -> None:
    """Listen on a loopback port."""
    with socket.create_server((HOST, int(port)), backlog=4096) as listener:
        Bridge(mode, int(slots), list(words)).serve(listener)


if __name__ == "__main__":
    main(*sys.argv[1:])
