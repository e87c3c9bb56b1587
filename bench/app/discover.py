"""Find the backend and the model that the user did not name, by asking the server at the URL."""

from collections.abc import Sequence
from typing import NamedTuple

from backends import BACKENDS
from backends.cold import openai
from backends.cold.recognise import Recognised, recognise
from bench.types import Backend, Target, UserError

DEFAULT_BACKEND = "llamacpp"
DEFAULT_MODEL = "tiny"
"""What is launched if the user names nothing."""


class ChosenServer(NamedTuple):
    """The backend and the model of a run; `notes` say which of them were found rather than named."""

    backend: Backend
    model: str
    notes: tuple[str, ...] = ()


def choose(backend: Backend | None, model: str | None, target: Target) -> ChosenServer:
    """Complete the user's description of a running server.

    Raises UserError if nothing answers, or if the server has several models to choose from.
    """
    notes = []
    found: Recognised | None = None
    if backend is None:
        found = recognise(target)
        backend = BACKENDS[found.backend]
        if backend.name != DEFAULT_BACKEND:
            notes.append(f"--backend {backend.name} is used for {target.url}: {found.by}")
    if model is None:
        if backend.provider is not None:
            raise UserError(f"--model: expected the model to ask {backend.name} for; for names: bench.py prices TEXT")
        model = _only(target, found.models if found else [entry["id"] for entry in openai.served_models(target)])
        notes.append(f"--model {model} is used, the only one that {target.url} serves")
    return ChosenServer(backend, model, tuple(notes))


def _only(target: Target, models: Sequence[str]) -> str:
    if len(models) == 1:
        return models[0]
    serves = f"serves {openai.first_of(models)}" if models else "lists no models"
    raise UserError(f"--model: {target.url} {serves}; expected the one to use")
