"""What a real TGI and a real Ollama sent, cut at every byte, and through the vendors' own clients."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from backends.dialect import claude, openai, responses, tgi
from bench.types import Reply, Usage
from bench.wire.http1 import parse
from tests.simulations import few_or_many
from tests.vendors import anthropic_client, openai_client

FIXTURES = Path(__file__).parents[1] / "fixtures"
Decode = Callable[..., Reply]

# (server, capture, decode): the text, usage, finish reason and error that are in it
OVER = "Input validation error: "
ANSWERS: dict[tuple[str, str], tuple[Decode, str, Usage | None, str | None]] = {
    ("tgi", "native-length"): (
        tgi.decode, " seat old close tool until moment boat hard", Usage(6, output_tokens=8), "length"),
    ("tgi", "native-one-token"): (tgi.decode, " seat", Usage(6, output_tokens=1), "length"),
    ("tgi", "native-no-details"): (tgi.decode, " after felt among moment", None, None),
    ("tgi", "native-sampled"): (
        tgi.decode, " seat be mother grow paint body save hall", Usage(6, output_tokens=8), "length"),
    ("tgi", "native-unicode"): (tgi.decode, " talk block now dance point seat", Usage(22, output_tokens=6), "length"),
    ("tgi", "native-adapter-unknown"): (tgi.decode, " act crop", Usage(1, output_tokens=2), "length"),
    ("tgi", "root-stream"): (tgi.decode, "hello cheap him pull", Usage(5, output_tokens=3), "length"),
    ("tgi", "chat-usage"): (
        tgi.decode, " fruit demand mount became wait win", Usage(7, output_tokens=6, total_tokens=13), "length"),
    ("tgi", "chat-no-usage"): (tgi.decode, " it body may wait", None, "length"),
    ("tgi", "chat-system"): (
        tgi.decode, " was gather come grand", Usage(13, output_tokens=4, total_tokens=17), "length"),
    ("tgi", "chat-max-completion-tokens"): (
        tgi.decode, " fruit round led while", Usage(7, output_tokens=4, total_tokens=11), "length"),
    ("tgi", "chat-error-no-messages"): (tgi.decode, " plant held orange big", None, "length"),
    ("tgi", "chat-whole"): (
        tgi.decode, " steel kind fire seat", Usage(7, output_tokens=4, total_tokens=11), "length"),
    ("tgi", "completions"): (
        openai.decode, " seat old brown loud", Usage(6, output_tokens=4, total_tokens=10), "length"),
    ("ollama", "chat-usage"): (
        openai.decode, " fruit after page crop", Usage(7, output_tokens=4, total_tokens=11), "length"),
    ("ollama", "chat-no-usage"): (openai.decode, " fruit energy public love", None, "length"),
    ("ollama", "chat-prompt-cut"): (
        openai.decode, " talk home talk let", Usage(1026, output_tokens=4, total_tokens=1030), "length"),
    ("ollama", "chat-whole"): (
        openai.decode, " fruit after can would", Usage(7, output_tokens=4, total_tokens=11), "length"),
    # Zeros in every chunk, and the counts at the end.
    ("ollama", "completions"): (
        openai.decode, " sky while whole their", Usage(6, output_tokens=4, total_tokens=10), "length"),
    ("xllamacpp", "chat-whole"): (
        responses.decode, " change data think but gather cup", Usage(12, 0, output_tokens=6, total_tokens=18),
        "length"),
    ("xllamacpp", "completions"): (
        responses.decode, " talk block book north match dance", Usage(13, 0, output_tokens=6, total_tokens=19),
        "length"),
    ("xllamacpp", "completions-whole"): (
        responses.decode, " talk block book north match dance", Usage(13, 12, output_tokens=6, total_tokens=19),
        "length"),
    ("xllamacpp", "responses"): (
        responses.decode, " change data think but gather cup", Usage(12, 11, output_tokens=6, total_tokens=18),
        "completed"),
    ("xllamacpp", "responses-whole"): (
        responses.decode, " change data think but gather cup", Usage(12, 11, output_tokens=6, total_tokens=18),
        "completed"),
    # An estimate of 3 first, and the count last.
    ("ollama", "messages"): (claude.decode, " fruit after can stay", Usage(7, output_tokens=4), "max_tokens"),
}  # fmt: skip

REFUSALS: dict[tuple[str, str], tuple[Decode, tuple[str, str]]] = {
    ("tgi", "native-error-max-new-tokens-0"): (
        tgi.decode, ("error_event", f"validation: {OVER}`max_new_tokens` must be strictly positive")),
    ("tgi", "native-error-empty"): (tgi.decode, ("error_event", f"validation: {OVER}`inputs` cannot be empty")),
    ("tgi", "native-error-too-long"): (
        tgi.decode, ("error_event", f"validation: {OVER}`inputs` must have less than 1500 tokens. Given: 1604")),
    ("tgi", "native-error-sum-too-long"): (
        tgi.decode,
        ("error_event", f"validation: {OVER}`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1404 `inputs` "
                        "tokens and 900 `max_new_tokens`")),
    ("tgi", "native-error-temperature"): (
        tgi.decode, ("error_event", f"validation: {OVER}`temperature` must be strictly positive")),
    ("tgi", "native-stop"): (
        tgi.decode, ("error_event", f"validation: {OVER}`stop` supports up to 0 stop sequences. Given: 1")),
    ("tgi", "native-error-json"): (
        tgi.decode,
        ("http_400", "Failed to parse the request body as JSON: inputs: EOF while parsing a value at line 1 "
                     "column 10")),
    ("tgi", "native-error-missing"): (
        tgi.decode,
        ("http_422", "Failed to deserialize the JSON body into the target type: missing field `inputs` at line 1 "
                     "column 18")),
    # TGI's chat route too says errors of a stream inside a 200.
    ("tgi", "chat-error-max-tokens-0"): (
        tgi.decode, ("error_event", f"{OVER}`max_new_tokens` must be strictly positive")),
    ("tgi", "chat-error-too-long"): (
        tgi.decode, ("error_event", f"{OVER}`inputs` must have less than 1500 tokens. Given: 1603")),
    ("ollama", "chat-error-no-model"): (openai.decode, ("http_404", "model 'nosuch' not found")),
    ("ollama", "chat-error-no-messages"): (openai.decode, ("http_400", "[] is too short - 'messages'")),
    ("ollama", "chat-error-json"): (openai.decode, ("http_400", "unexpected EOF")),
    ("ollama", "messages-error-no-model"): (
        claude.decode, ("http_404", "not_found_error: model 'nosuch' not found")),
}  # fmt: skip


def captured(server: str, name: str) -> bytes:
    return (FIXTURES / server / "captures" / f"{name}.http").read_bytes()


def decoded(decode: Decode, *reads: bytes) -> Reply | None:
    """Read i arrives at 10 * (i + 1); None where no head came."""
    ends = list(accumulate(map(len, reads)))
    response = parse(b"".join(reads), ends, [10 * (i + 1) for i in range(len(reads))])
    return None if response.status is None else decode(response.status, response.headers, response.body)


def said(reply: Reply) -> tuple[Any, ...]:
    """Everything but the stamps."""
    return reply.text, [delta[1:] for delta in reply.deltas], reply.usage, reply.finish, reply.error, reply.unread


@few_or_many("step", 17, 1)
@pytest.mark.parametrize(("server", "name"), ANSWERS)
def test_an_answer_of_a_real_server_says_what_it_said_wherever_it_is_cut(server: str, name: str, step: int) -> None:
    decode, text, usage, finish = ANSWERS[server, name]
    data = captured(server, name)
    whole = decoded(decode, data)
    assert whole is not None
    assert (whole.text, whole.usage, whole.finish, whole.error, whole.unread) == (text, usage, finish, None, 0)
    assert len(whole.deltas) >= 1
    for cut in range(1, len(data), step):
        reply = decoded(decode, data[:cut], data[cut:])
        assert reply is not None
        assert said(reply) == said(whole)
        assert [t_ns for t_ns, _, _ in reply.deltas] == sorted(t_ns for t_ns, _, _ in reply.deltas)


@few_or_many("step", 17, 1)
@pytest.mark.parametrize(("server", "name"), ANSWERS)
def test_an_answer_that_breaks_off_anywhere_keeps_what_had_arrived(server: str, name: str, step: int) -> None:
    decode, text, _, _ = ANSWERS[server, name]
    data = captured(server, name)
    for length in range(0, len(data), step):
        reply = decoded(decode, data[:length])
        if reply is not None and name != "root-stream":  # whose last event repeats the prompt
            assert text.startswith(reply.text)


@few_or_many("step", 7, 1)
@pytest.mark.parametrize(("server", "name"), REFUSALS)
def test_a_refusal_of_a_real_server_has_its_own_words_wherever_it_is_cut(server: str, name: str, step: int) -> None:
    decode, error = REFUSALS[server, name]
    data = captured(server, name)
    for cut in range(1, len(data), step):
        reply = decoded(decode, data[:cut], data[cut:])
        assert reply is not None
        assert (reply.error, reply.deltas) == (error, [])


def test_every_capture_of_a_dialect_that_we_speak_is_held_to_something() -> None:
    known = {*ANSWERS, *REFUSALS}
    ours = ("/generate_stream", "/v1/chat/completions", "/v1/completions", "/v1/messages")
    for server in ("tgi", "ollama"):
        index = json.loads((FIXTURES / server / "captures" / "index.json").read_text())
        assert {(server, name) for name, about in index.items() if about["path"] in ours} <= known


# --- the vendors' clients read the same -------------------------------------------------------------------------


@pytest.fixture
def replaying() -> Iterator[Callable[[bytes], str]]:
    """`replaying(data) -> url` of a server that sends these bytes to whoever asks, and closes."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, data: bytes) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += connection.recv(65536)
                    head, _, rest = request.partition(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    while len(rest) < length:
                        rest += connection.recv(65536)
                    connection.sendall(data)

    def start(data: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=serve, args=(listener, data)))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def our_answer(server: str, name: str) -> Reply:
    reply = decoded(ANSWERS[server, name][0], captured(server, name))
    assert reply is not None
    return reply


CHATS = [key for key in ANSWERS if key[1].startswith("chat-") and not key[1].endswith("whole")]


@pytest.mark.slow
@pytest.mark.parametrize(("server", "name"), CHATS)
def test_openais_client_reads_a_chat_as_we_do(server: str, name: str, replaying: Callable[[bytes], str]) -> None:
    url, ours = replaying(captured(server, name)), our_answer(server, name)
    with openai_client(url) as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        chunks = list(client.chat.completions.create(model="m", messages=messages, stream=True))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == ours.text
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == [ours.finish]
    counted = chunks[-1].usage
    assert (counted is None) == (ours.usage is None)
    if counted and ours.usage:
        assert (counted.prompt_tokens, counted.completion_tokens) == (
            ours.usage.prompt_tokens, ours.usage.output_tokens)  # fmt: skip


@pytest.mark.parametrize("server", ["tgi", "ollama"])
def test_openais_client_reads_a_completion_as_we_do(server: str, replaying: Callable[[bytes], str]) -> None:
    url, ours = replaying(captured(server, "completions")), our_answer(server, "completions")
    with openai_client(url) as client:
        chunks = list(client.completions.create(model="m", prompt="hi", stream=True))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.text for choice in choices) == ours.text
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == [ours.finish]
    counted = chunks[-1].usage
    assert counted is not None
    assert ours.usage is not None
    assert (counted.prompt_tokens, counted.completion_tokens, counted.total_tokens) == (
        ours.usage.prompt_tokens, ours.usage.output_tokens, ours.usage.total_tokens)  # fmt: skip


@pytest.mark.slow
def test_anthropics_client_reads_ollamas_messages_as_we_do(replaying: Callable[[bytes], str]) -> None:
    url, ours = replaying(captured("ollama", "messages")), our_answer("ollama", "messages")
    with (
        anthropic_client(url) as client,
        client.messages.stream(max_tokens=4, messages=[{"role": "user", "content": "hello"}], model="m") as stream,
    ):
        message = stream.get_final_message()
    [block] = message.content
    assert (getattr(block, "text", None), message.stop_reason) == (ours.text, ours.finish)
    assert ours.usage is not None
    assert (message.usage.input_tokens, message.usage.output_tokens) == (
        ours.usage.prompt_tokens, ours.usage.output_tokens)  # fmt: skip


NATIVE = [key for key in ANSWERS if key[1].startswith("native-")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, whose old names it calls
@pytest.mark.parametrize(("server", "name"), NATIVE)
def test_tgis_client_reads_the_native_stream_as_we_do(
    server: str, name: str, replaying: Callable[[bytes], str]
) -> None:
    from text_generation import Client  # type: ignore[import-untyped]

    ours = our_answer(server, name)
    *_, end = responses = list(Client(replaying(captured(server, name))).generate_stream("hello"))
    assert end.generated_text == ours.text == "".join(response.token.text for response in responses)
    assert len(responses) == len(ours.deltas) == sum(tokens or 0 for _, tokens, _ in ours.deltas)
    if end.details is None:
        assert (ours.usage, ours.finish) == (None, None)
    else:
        assert ours.usage is not None
        assert (end.details.finish_reason.value, end.details.generated_tokens) == (
            ours.finish, ours.usage.output_tokens)  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["native-error-empty", "native-error-too-long", "native-stop"])
def test_tgis_client_sees_the_same_error(name: str, replaying: Callable[[bytes], str]) -> None:
    from text_generation import Client
    from text_generation.errors import ValidationError  # type: ignore[import-untyped]

    with pytest.raises(ValidationError) as refused:
        list(Client(replaying(captured("tgi", name))).generate_stream("hello"))
    assert f"validation: {refused.value}" == REFUSALS["tgi", name][1][1]


@pytest.mark.slow
def test_openais_client_reads_the_responses_of_llama_cpp_as_we_do(replaying: Callable[[bytes], str]) -> None:
    ours = our_answer("xllamacpp", "responses")
    url, whole_url = (replaying(captured("xllamacpp", name)) for name in ("responses", "responses-whole"))
    with openai_client(url) as client:
        events = list(client.responses.create(model="m", input="hi", stream=True))
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert ("".join(said), len(said)) == (ours.text, len(ours.deltas))
    with openai_client(whole_url) as client:
        whole = client.responses.create(model="m", input="hi")
    assert (whole.output_text, whole.status) == (ours.text, ours.finish)
    assert whole.usage is not None and ours.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (ours.usage.prompt_tokens, ours.usage.output_tokens)
