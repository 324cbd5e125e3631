import hashlib
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType
from tiny import tiny_model

from hustings import models
from hustings.errors import ModelError
from hustings.gguf.export import export_gguf
from hustings.gguf.header import gguf_header
from hustings.models import Weights, as_folder, as_gguf, resolve
from hustings.settings import ModelSettings

F32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
QUESTION = "How big a problem is  racism, and why? It's 10\n\nor 3."


def settings(**changes: Any) -> ModelSettings:
    unset = dict.fromkeys(("path", "id", "revision", "licence", "memory_gb", "holds_persona", "price", "retired"))
    plain = {**unset, "name": "tiny", "source": "embedded", "id": "smollm2", "context": 512}
    return ModelSettings.model_validate({**plain, **changes})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def tiny_gguf(tiny: Path) -> Path:
    out = tiny.parent / "tiny.gguf"
    export_gguf(tiny, None, out)
    return out


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Weights, Path]]:
    """The embedded model and its transformers folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUSTINGS_CACHE", str(tmp_path_factory.mktemp("cache")))
        weights = resolve(settings(name="smollm2"))
        yield weights, as_folder(weights)


def greedy_transformers(folder: Path, count: int) -> tuple[list[int], list[int]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    ids = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count)
    return prompt[0].tolist(), ids[0, prompt.shape[1] :].tolist()


def greedy_openvino(file: Path, count: int) -> tuple[list[int], list[int]]:
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    pipeline = genai.ContinuousBatchingPipeline(str(file), scheduler, "CPU", F32)
    tokenizer = pipeline.get_tokenizer()
    text = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True)
    prompt = tokenizer.encode(text, add_special_tokens=False).input_ids
    handle = pipeline.add_request(0, prompt, genai.GenerationConfig(max_new_tokens=count))
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return prompt.data[0].tolist(), handle.read_all()[0].generated_ids


def test_a_fingerprint_is_computed_once_and_again_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_gguf: Path
) -> None:
    computed: list[Path] = []
    sha256 = models.sha256
    monkeypatch.setattr(models, "sha256", lambda path: computed.append(path) or sha256(path))
    file = tmp_path / "model.gguf"
    file.write_bytes(tiny_gguf.read_bytes())
    first = resolve(settings(source="gguf", path=str(file)))
    assert first == resolve(settings(source="gguf", path=str(file)))
    assert first.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()
    assert computed == [file]
    file.write_bytes(tiny_gguf.read_bytes() + b"\0")
    assert resolve(settings(source="gguf", path=str(file))).fingerprint != first.fingerprint


def test_a_folder_fingerprint_follows_weights_and_tokenizer_and_nothing_else(tmp_path: Path, tiny: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny, tmp_path / "copy"))
    first = resolve(settings(source="local", path=str(folder))).fingerprint
    (folder / "README.md").write_text("a model")
    assert resolve(settings(source="local", path=str(folder))).fingerprint == first
    (folder / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text() + "\n")
    assert resolve(settings(source="local", path=str(folder))).fingerprint != first


@pytest.mark.parametrize(
    "content", ["[]", "3", '"x"', "{", "\ufeff{}", '{"FILE": 3}', '{"FILE": [1]}', '{"FILE": [1, 2, 3]}']
)
def test_a_list_of_fingerprints_that_is_none_is_written_anew(tiny_gguf: Path, cache: Path, content: str) -> None:
    known = cache / "fingerprints.json"
    known.parent.mkdir()
    known.write_text(content.replace("FILE", str(tiny_gguf.resolve())))
    found = resolve(settings(source="gguf", path=str(tiny_gguf))).fingerprint
    assert found == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
    assert found in json.loads(known.read_text())[str(tiny_gguf.resolve())]


def test_a_second_copy_of_the_weights_is_neither_counted_nor_exported(tmp_path: Path, tiny: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny, tmp_path / "copy"))
    first = resolve(settings(source="local", path=str(folder)))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert resolve(settings(source="local", path=str(folder))) == first
    export_gguf(folder, None, tmp_path / "one.gguf")
    export_gguf(tiny, None, tmp_path / "other.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "other.gguf").read_bytes()


def test_weights_that_no_file_has_are_not_made_up(tmp_path: Path, tiny: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    from hustings import huggingface

    folder = Path(shutil.copytree(tiny, tmp_path / "copy"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* are in none of its files \(model\.layers\.1\.mlp\.up_proj"):
        huggingface.load(folder, torch.float32, "cpu", "none")


def test_caches_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUSTINGS_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = tmp_path / ".cache"
    assert (models.cache_folder(), models.hub_cache()) == (usual / "hustings", usual / "huggingface" / "hub")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert (models.cache_folder(), models.hub_cache()) == (Path("/xdg/hustings"), Path("/xdg/huggingface/hub"))
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert models.hub_cache() == tmp_path / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/hub")
    monkeypatch.setenv("HUSTINGS_CACHE", "$HOME/mine")
    assert (models.cache_folder(), models.hub_cache()) == (tmp_path / "mine", Path("/hub"))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="Pickled"):
        resolve(settings(source="local", path=str(tmp_path)))


def test_a_hub_download_asks_for_safe_files_and_is_named_by_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> None:
    import shutil

    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(shutil.copytree(tiny, tmp_path / "0123abcd"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    weights = resolve(settings(source="hub", id="someone/model", revision="v1"))
    assert weights.fingerprint == "0123abcd"
    assert (asked["repository"], asked["revision"]) == ("someone/model", "v1")
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked["allow_patterns"])


def test_a_hub_that_cannot_be_reached_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def snapshot(repository: str, **options: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(ModelError, match=r"someone/model.*no route to host"):
        resolve(settings(source="hub", id="someone/model"))


def test_the_header_of_the_embedded_model_is_read_in_a_moment() -> None:
    import time

    file = resolve(settings()).gguf
    assert file is not None
    began = time.monotonic()
    header = gguf_header(file)
    assert time.monotonic() - began < 1.5
    assert (header.architecture, header.context) == ("llama", 8192)
    assert "<|im_start|>" in header.get("tokenizer.chat_template")
    assert len(header.get("tokenizer.ggml.tokens")) == 49152
    assert sum(tensor.size for tensor in header.tensors) > 90e6


def _broken(content: bytes, how: str) -> bytes:
    match how:
        case "missing at the end":
            return content[:-1000]
        case "cut in the header":
            return content[:2000]
        case "another format":
            return b"PK\3\4" + content[4:]
        case "empty":
            return b""
        case "another architecture":
            return content.replace(b"llama", b"gemma")
        case _:
            return content[:8] + struct.pack("<QQ", 2**60, 2**60) + content[24:]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing at the end", "the last 1000 bytes"),
        ("cut in the header", "cut off"),
        ("another format", "not a GGUF file"),
        ("empty", "empty"),
        ("another architecture", r"'gemma'.*llama, qwen2, qwen3"),
        ("absurd counts", "damaged"),
    ],
)
def test_an_unusable_gguf_file_is_refused_before_it_is_loaded(
    tmp_path: Path, tiny_gguf: Path, how: str, message: str
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(_broken(tiny_gguf.read_bytes(), how))
    with pytest.raises(ModelError, match=message) as caught:
        resolve(settings(source="gguf", path=str(file)))
    assert str(file) in str(caught.value)


def odd(folder: Path, kind: GGMLQuantizationType) -> Weights:
    """A GGUF file of one tensor of 2 × 33 numbers."""
    file = folder / "odd.gguf"
    with closing(GGUFWriter(file, "llama")) as writer:
        writer.add_tensor("token_embd.weight", np.zeros((2, 33), np.int8), raw_shape=(2, 33), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    return resolve(settings(source="gguf", path=str(file)))


@pytest.mark.parametrize("way", [as_folder, lambda weights: as_gguf(weights, faithful=True)], ids=["folder", "gguf"])
def test_a_tensor_that_cannot_be_read_is_refused_on_both_ways_and_leaves_nothing(
    tmp_path: Path, cache: Path, way: Callable[[Weights], Path]
) -> None:
    weights = odd(tmp_path, GGMLQuantizationType.I8)  # which nothing dequantizes
    with pytest.raises(ModelError, match=r"odd\.gguf.*cannot be converted"):
        way(weights)
    assert {path.suffix for path in (cache / "models").iterdir()} == {".lock"}


def test_rows_that_are_no_whole_blocks_are_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"odd\.gguf.*damaged"):
        odd(tmp_path, GGMLQuantizationType.Q4_1)


@pytest.mark.parametrize("source", ["gguf", "local"])
def test_a_path_to_nothing_is_a_model_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelError, match=r"nothing.*model\.path"):
        resolve(settings(source=source, path=str(tmp_path / "nothing")))


def test_two_at_a_time_convert_a_file_once(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = resolve(settings(source="gguf", path=str(tiny_gguf)))
    conversions: list[Path] = []
    convert = models.convert
    monkeypatch.setattr(models, "convert", lambda file, part: conversions.append(part) or convert(file, part))
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(as_folder(weights))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1
    assert folders[0] == folders[1] == as_folder(weights)


def test_an_interrupted_conversion_leaves_nothing_that_looks_whole(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    weights = resolve(settings(source="gguf", path=str(tiny_gguf)))
    convert = models.convert

    def interrupted(file: Path, part: Path) -> None:
        (part / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        as_folder(weights)
    assert not [path for path in (cache / "models").iterdir() if path.is_dir()]
    monkeypatch.setattr(models, "convert", convert)
    said: list[str] = []
    assert (as_folder(weights, said.append) / "config.json").is_file()
    assert len(said) == 1


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_an_exported_folder_says_the_same_in_openvino_and_survives_the_way_back(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tiny_model(tmp_path / "tiny", kind=kind)
    file = as_gguf(resolve(settings(source="local", path=str(folder))))
    assert greedy_openvino(file, 24) == greedy_transformers(folder, 24)
    back = as_folder(resolve(settings(source="gguf", path=str(file))))
    before, after = load_file(folder / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        expected = tensor.half() if tensor.dim() > 1 else tensor
        assert torch.equal(after[name], expected), name


def test_a_tokenizer_that_openvino_would_read_wrongly_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny", digits=False)
    with pytest.raises(ModelError, match=r"tokenizer.*engine=transformers"):
        export_gguf(folder, None, tmp_path / "out.gguf")
    assert not list(tmp_path.glob("*out.gguf*"))


def test_the_embedded_model_keeps_its_tokens_template_and_ends_when_converted(smollm2: tuple[Weights, Path]) -> None:
    from transformers import AutoTokenizer

    weights, folder = smollm2
    assert weights.gguf is not None
    header, tokenizer = gguf_header(weights.gguf), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == header.get("tokenizer.chat_template")
    assert tokenizer.convert_ids_to_tokens(range(49152)) == header.get("tokenizer.ggml.tokens")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    config = json.loads((folder / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"], config["tie_word_embeddings"]) == (2, 2, True)


def test_the_embedded_model_exported_to_f16_says_the_same_in_openvino(
    smollm2: tuple[Weights, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, folder = smollm2
    monkeypatch.setenv("HUSTINGS_CACHE", str(folder.parents[1]))
    file = as_gguf(weights, faithful=True)
    assert weights.gguf is not None and weights.gguf == as_gguf(weights) != file
    template = gguf_header(weights.gguf).get("tokenizer.chat_template")
    assert gguf_header(file).get("tokenizer.chat_template") == template
    assert greedy_openvino(file, 32) == greedy_transformers(folder, 32)
