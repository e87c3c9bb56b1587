"""Short names: what they are resolved to, and which are refused."""

from pathlib import Path

import pytest

from bench.server import names as models
from bench.server.names import aliases_of, repositories, resolve
from bench.server.tinymodel import SIZES
from bench.types import UserError
from tests.commands import bench

NAMES = list(models.models())


@pytest.mark.parametrize(
    ("name", "weights", "repository", "quantization"),
    [
        ("mistral-7b", "hf", "mistralai/Mistral-7B-Instruct-v0.2", None),
        ("mistral-7b-awq", "hf", "TheBloke/Mistral-7B-Instruct-v0.2-AWQ", "awq"),
        ("Mistral-7B-AWQ", "hf", "TheBloke/Mistral-7B-Instruct-v0.2-AWQ", "awq"),
        ("mistral-7b-fp8", "hf", "mistralai/Mistral-7B-Instruct-v0.2", "fp8"),
        ("mistral-7b-bf16", "hf", "mistralai/Mistral-7B-Instruct-v0.2", "bf16"),
        ("mistral-7b-fp16", "hf", "mistralai/Mistral-7B-Instruct-v0.2", "fp16"),
        ("mistral-7b-v0.3-awq", "hf", "solidrust/Mistral-7B-Instruct-v0.3-AWQ", "awq"),
        ("pixtral-12b", "hf", "mistralai/Pixtral-12B-2409", None),
        ("mistral-7b", "gguf", "TheBloke/Mistral-7B-Instruct-v0.2-GGUF", "Q4_K_M"),
        ("mistral-7b-q8_0", "gguf", "TheBloke/Mistral-7B-Instruct-v0.2-GGUF", "Q8_0"),
        ("MISTRAL-7B-Q5_K_M", "gguf", "TheBloke/Mistral-7B-Instruct-v0.2-GGUF", "Q5_K_M"),
        ("qwen2.5-7b-q6_k", "gguf", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q6_K"),
    ],
)
def test_a_name_is_an_alias_and_perhaps_a_quantization(
    name: str, weights: models.Weights, repository: str, quantization: str | None
) -> None:
    resolved = resolve(name, weights)
    assert resolved is not None
    assert (resolved.repository, resolved.quantization) == (repository, quantization)
    assert name.lower().startswith(resolved.model.alias)


def test_a_reference_names_the_file_only_where_a_repository_has_several() -> None:
    gguf, awq = resolve("mistral-7b", "gguf"), resolve("mistral-7b-awq", "hf")
    assert gguf is not None and gguf.reference == "TheBloke/Mistral-7B-Instruct-v0.2-GGUF:Q4_K_M"
    assert awq is not None and awq.reference == "TheBloke/Mistral-7B-Instruct-v0.2-AWQ"


@pytest.mark.parametrize("alias", NAMES)
@pytest.mark.parametrize("weights", ["hf", "gguf"])
def test_every_quantization_a_model_comes_in_can_be_named(alias: str, weights: models.Weights) -> None:
    model = models.models()[alias]
    for quantization, repository in repositories(model, weights).items():
        shown = quantization.upper() if weights == "gguf" else quantization
        assert resolve(f"{alias}-{quantization}", weights) == (repository, shown, model)


MISTRAL = "mistral-7b comes for vllm and tgi as awq fp8 bf16 fp16, for llamacpp as q4_k_m q5_k_m q6_k q8_0"
REFUSED = [
    ("mistral-7b-awq", "gguf", f"--model 'mistral-7b-awq': not for llamacpp; {MISTRAL}"),
    ("mistral-7b-q4_k_m", "hf", f"--model 'mistral-7b-q4_k_m': not for vllm and tgi; {MISTRAL}"),
    ("mistral-7b-q4", "gguf", f"--model 'mistral-7b-q4': no such model; {MISTRAL}"),
    ("pixtral-12b", "gguf", "not for llamacpp; pixtral-12b comes for vllm and tgi as fp8 bf16 fp16"),
    ("pixtral-12b-q8_0", "gguf", "not for llamacpp; pixtral-12b comes for vllm and tgi as fp8 bf16 fp16"),
    ("llama-3.2-3b-awq", "hf", "not for vllm and tgi; llama-3.2-3b comes for vllm and tgi as fp8 bf16 fp16, for llama"),
    ("mistral-8b", "hf", "a name that `bench.py models` lists; did you mean 'mistral-7b"),
    ("mistral-7bawq", "hf", "did you mean 'mistral-7b"),
    ("tinny", "gguf", "did you mean 'tiny' or "),
    ("gpt-4o", "hf", "--model 'gpt-4o': expected a path, a repository (OWNER/NAME) or a name"),
    ("model.gguf", "gguf", "--model 'model.gguf': expected a path, a repository"),
]


@pytest.mark.parametrize(("name", "weights", "message"), REFUSED, ids=[f"{name}-{of}" for name, of, _ in REFUSED])
def test_what_does_not_exist_is_answered_with_what_does(name: str, weights: models.Weights, message: str) -> None:
    with pytest.raises(UserError) as raised:
        resolve(name, weights)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_paths_repositories_and_tiny_models_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.gguf").touch()
    for name in ("model.gguf", "./nothing.gguf", "meta-llama/Llama-3.1-8B-Instruct", "tiny", "tiny-16l"):
        assert resolve(name, "gguf") is None
        assert resolve(name, "hf") is None


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("mistral-7b", ("mistralai/Mistral-7B-Instruct-v0.2", "TheBloke/Mistral-7B-Instruct-v0.2-AWQ")),
        ("Mistral-7b-awq", ("TheBloke/Mistral-7B-Instruct-v0.2-AWQ",)),
        ("mistral-7b-fp8", ("mistralai/Mistral-7B-Instruct-v0.2",)),
        ("mistral-7b-q8_0", ("TheBloke/Mistral-7B-Instruct-v0.2-GGUF:Q8_0",)),
        ("llama-3.2-3b", ("meta-llama/Llama-3.2-3B-Instruct",)),
        ("llama-3.2-3b-awq", ()),
        ("my-model", ()),
        ("tiny", ()),
    ],
)
def test_a_running_server_may_call_an_alias_by_its_repositories(name: str, ids: tuple[str, ...]) -> None:
    assert aliases_of(name) == ids


def test_the_known_names_are_the_tiny_models_and_the_aliases() -> None:
    assert models.known_names() == (*SIZES, *NAMES)
    assert [name for name in NAMES if name != name.lower()] == []


def test_a_run_whose_download_fails_says_why_in_one_line(tmp_path: Path) -> None:
    environment = {"MODEL_ENDPOINT": "http://127.0.0.1:1", "LLAMA_CACHE": str(tmp_path / "cache")}
    done = bench("run", "--model", "mistral-7b", "--out", tmp_path / "run", env=environment)
    assert done.returncode == 2
    *_, error = done.stderr.splitlines()
    assert "Could not establish connection" in error
    assert "TheBloke/Mistral-7B-Instruct-v0.2-GGUF:Q4_K_M" in error
