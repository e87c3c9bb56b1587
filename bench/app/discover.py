"""Which backend and which model, where the user names none: what answers at the URL is asked."""

from collections.abc import Sequence
from typing import NamedTuple

from backends import BACKENDS
from backends.cold import openai
from backends.cold.recognise import Recognised, recognise
from bench.types import Backend, Target, UserError

DEFAULT_BACKEND = "llamacpp"
DEFAULT_MODEL = "tiny"
"""What is launched where nothing is named."""


class ChosenServer(NamedTuple):
    """The backend and the model of a run; `notes` say which of them nobody named, and what is used."""

    backend: Backend
    model: str
    notes: tuple[str, ...] = ()


def choose(backend: Backend | None, model: str | None, target: Target) -> ChosenServer:
    """Complete what the user named of a server that runs.

    Raises UserError where nothing answers, and where the choice among several models is the user's.
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
            raise UserError(f"--model: name the one to ask {backend.name} for; see: bench.py prices TEXT")
        model = _only(target, found.models if found else [entry["id"] for entry in openai.served_models(target)])
        notes.append(f"--model {model} is used: {target.url} serves no other")
    return ChosenServer(backend, model, tuple(notes))


def _only(target: Target, models: Sequence[str]) -> str:
    if len(models) == 1:
        return models[0]
    serves = f"serves {openai.first_of(models)}" if models else "lists no models"
    raise UserError(f"--model: {target.url} {serves}; name the one to ask for")
