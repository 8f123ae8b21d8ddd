from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from equiloss import templates, tokenizer  # noqa: E402
from equiloss.errors import EquilossError, InputError  # noqa: E402
from equiloss.records.base_run import CheckpointRun  # noqa: E402
from equiloss.records.response import Example  # noqa: E402
from ift import prompts  # noqa: E402
from pretrain.cli import exchange  # noqa: E402
from pretrain.config import ModelConfig  # noqa: E402
from pretrain.exchange import importing  # noqa: E402
from pretrain.exchange.export import export, push  # noqa: E402
from pretrain.exchange.tokenizer_files import merges  # noqa: E402
from pretrain.model import checkpoint  # noqa: E402
from pretrain.model.checkpoint import Checkpoint  # noqa: E402
from pretrain.model.decoder import GPT  # noqa: E402

TRAINED = tokenizer.train_bpe(["the king and the queen of the land, naïve 東京"] * 3, 300)


def make(path: Path, tie: bool = True, bias: bool = True, encoding: Any = TRAINED, run: Any = None) -> Checkpoint:
    config = ModelConfig(
        n_layer=2, n_head=2, n_embd=32, context=24, vocab_size=encoding.n_vocab, tie_weights=tie, qkv_bias=bias
    )
    model = GPT(config, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        path, model, tokenizer.to_record(encoding), CheckpointRun.model_validate(run or {"name": "toy", "steps": 5})
    )
    return checkpoint.load(path)


def test_a_full_disk_fails_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "checkpoint.pt")

    def write(*_: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("pretrain.exchange.tokenizer_files.write", write)
    with pytest.raises(EquilossError, match=r"no space left for .*hf") as caught:
        exchange.export(tmp_path / "checkpoint.pt", tmp_path / "hf")
    assert caught.value.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tie", [True, False])
def test_transformers_gives_the_same_logits(tmp_path: Path, tie: bool, bias: bool) -> None:
    loaded = make(tmp_path / "checkpoint.pt", tie, bias)
    export(loaded, tmp_path / "hf")
    found: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", output_loading_info=True)
    theirs, report = found
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.tie_word_embeddings is tie
    assert (theirs.lm_head.weight.data_ptr() == theirs.transformer.wte.weight.data_ptr()) is tie
    ids = torch.randint(0, TRAINED.n_vocab, (3, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, loaded.model(ids), atol=1e-5, rtol=0)
    back = importing.read(tmp_path / "hf")
    assert back.config == loaded.config.model_copy(update={"dropout": 0.0})
    assert tokenizer.sha256(back.encoding) == tokenizer.sha256(TRAINED)
    own = loaded.model.state_dict()
    assert back.state.keys() == own.keys()
    assert all(torch.equal(back.state[name], own[name]) for name in own)


def test_biases_that_an_export_was_trained_to_since_come_back(tmp_path: Path) -> None:
    export(make(tmp_path / "checkpoint.pt", bias=False), tmp_path / "hf")
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("attn.c_attn.bias"):
                parameter.add_(0.5)
    theirs.save_pretrained(tmp_path / "hf")
    back = importing.read(tmp_path / "hf")
    assert back.config.qkv_bias
    assert any("model.qkv_bias = true" in note for note in back.notes)
    model, ids = GPT(back.config), torch.arange(20)[None]
    model.load_state_dict(back.state)
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, model(ids), atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_wraps_all_names_is_taken_off(tmp_path: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    loaded = make(tmp_path / "checkpoint.pt")
    export(loaded, tmp_path / "hf")
    path = tmp_path / "hf/model.safetensors"
    save_file({prefix + name: tensor for name, tensor in load_file(path).items()}, path)
    settings = json.loads((tmp_path / "hf/config.json").read_text())
    (tmp_path / "hf/config.json").write_text(json.dumps({**settings, "activation_function": "gelu_pytorch_tanh"}))
    back = importing.read(tmp_path / "hf")
    assert all(torch.equal(back.state[name], tensor) for name, tensor in loaded.model.state_dict().items())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Each tokenizer with the AutoTokenizer of its export."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, encoding in (("gpt2", tokenizer.gpt2()), ("trained", TRAINED)):
        directory = tmp_path_factory.mktemp(name)
        export(make(directory / "checkpoint.pt", encoding=encoding), directory / "hf")
        found[name] = (encoding, AutoTokenizer.from_pretrained(directory / "hf"))
    return found


ORDINARY = st.text(st.characters(exclude_categories=("Cs", "Cn"))).filter(lambda text: "<|endoftext|>" not in text)


@given(text=st.one_of(ORDINARY, st.text("the kingqulandï ,'s\n東1")))
def test_autotokenizer_gives_the_same_ids(exported: dict[str, tuple[Any, Any]], text: str) -> None:
    for encoding, theirs in exported.values():
        ids = theirs.encode(text)
        assert ids == encoding.encode_ordinary(text)
        assert theirs.decode(ids) == text


@pytest.mark.parametrize("name", ["gpt2", "trained"])
def test_the_special_tokens_are_known(exported: dict[str, tuple[Any, Any]], name: str) -> None:
    encoding, theirs = exported[name]
    assert theirs.eos_token_id == theirs.bos_token_id == theirs.pad_token_id == encoding.eot_token
    assert len(theirs) == encoding.n_vocab
    assert theirs.model_max_length == 24
    assert theirs.encode("a<|endoftext|>") == [*encoding.encode_ordinary("a"), encoding.eot_token]


@pytest.mark.slow
def test_merges_are_those_that_gpt2_was_published_with() -> None:
    published = tokenizer._installed_merges()
    if published is None:
        pytest.skip("the merges are not installed")
    characters = tokenizer.byte_characters()
    pairs = [" ".join("".join(characters[b] for b in side) for side in pair) for pair in merges(tokenizer.gpt2())]
    assert pairs == published.split("\n")[1:-1]


@pytest.mark.parametrize("template", templates.names("ift"))
def test_the_chat_template_gives_the_prompt_of_the_instruction_template(tmp_path: Path, template: str) -> None:
    export(make(tmp_path / "checkpoint.pt"), tmp_path / "hf", template)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    own = prompts.load(template)
    one = [{"role": "user", "content": "Name a <b>capital</b>."}]
    expected = "".join(s.text for s in own.prompt(Example(id="", instruction=one[0]["content"])))
    assert theirs.apply_chat_template(one, tokenize=False, add_generation_prompt=True) == expected
    two = [*one, {"role": "assistant", "content": "Oslo"}, {"role": "user", "content": "Another."}]
    history = [{"instruction": one[0]["content"], "response": "Oslo"}]
    example = Example.model_validate({"id": "", "instruction": "Another.", "history": history, "system": "Be brief."})
    system = [{"role": "system", "content": "Be brief."}]
    assert theirs.apply_chat_template(system + two, tokenize=False) == "".join(s.text for s in own.prompt(example))
    answered = theirs.apply_chat_template([*one, {"role": "assistant", "content": "Oslo"}], tokenize=False)
    segments = own.segments(Example(id="", instruction=one[0]["content"]), "Oslo")
    assert answered == "".join(segment.text for segment in segments) + "<|endoftext|>"
    with pytest.raises(Exception, match="a user speaks first"):
        theirs.apply_chat_template([{"role": "assistant", "content": "hello"}], tokenize=False)


def test_what_llama_cpps_converter_reads_is_there(tmp_path: Path) -> None:
    """Its tensor names map, the shapes that it transposes are Conv1D's, n_ctx and the merges are given."""
    gguf = pytest.importorskip("gguf")
    from safetensors import safe_open

    for tie in (True, False):
        export(make(tmp_path / f"{tie}.pt", tie, bias=False), tmp_path / f"{tie}")
        settings = json.loads((tmp_path / f"{tie}" / "config.json").read_text(encoding="utf-8"))
        assert {"n_ctx", "n_embd", "n_layer", "n_head", "layer_norm_epsilon"} <= settings.keys()
        table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, settings["n_layer"])
        with safe_open(tmp_path / f"{tie}" / "model.safetensors", "np") as file:
            mapped = {table.get_name(name, try_suffixes=(".weight", ".bias")): name for name in file.keys()}  # noqa: SIM118
            shapes = {name: file.get_slice(name).get_shape() for name in mapped.values()}
        assert None not in mapped
        assert len(mapped) == len(shapes)
        needed = {f"blk.{layer}.{part}.{kind}" for layer in range(2) for kind in ("weight", "bias")
                  for part in ("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down")}  # fmt: skip
        assert needed | {"token_embd.weight", "position_embd.weight", "output_norm.weight"} <= mapped.keys()
        assert ("output.weight" in mapped) is not tie
        assert shapes["transformer.h.0.attn.c_attn.weight"] == [32, 96]
        special = gguf.SpecialVocab(tmp_path / f"{tie}", load_merges=True)
        assert len(special.merges) == TRAINED.n_vocab - 257
        assert special.special_token_ids["eos"] == TRAINED.eot_token
        assert special.chat_template


def test_the_directory_is_complete_and_the_card_tells_the_run(tmp_path: Path) -> None:
    run = {"name": "my | run", "steps": 1200, "validation_loss": 3.14159, "config": {"train": {"lr": 0.002, "seed": 7}}}
    loaded = make(tmp_path / "checkpoint.pt", run=run)
    assert export(loaded, tmp_path / "hf", repository="me/toy") == "alpaca"
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "vocab.json", "merges.txt", "chat_template.jinja", "README.md",
    }  # fmt: skip
    card = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert 'from_pretrained("me/toy")' in card
    for line in (
        "| steps | 1,200 |",
        "| validation loss (nats/token) | 3.142 |",
        "| learning rate | 0.002 |",
        "| seed | 7 |",
    ):
        assert line in card
    assert loaded.sha256 in card
    assert "This is a base model" in card
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_fine_tuned_model_keeps_its_template(tmp_path: Path) -> None:
    run = {
        "kind": "ift",
        "name": "x",
        "base": {"path": "runs/a/checkpoint.pt", "sha256": "a" * 64},
        "template": {"name": "chatml", "sha256": "-"},
    }
    assert export(make(tmp_path / "checkpoint.pt", run=run), tmp_path / "hf") == "chatml"
    card = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert "| base model | runs/a/checkpoint.pt |" in card
    assert "This is a base model" not in card


def test_an_export_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    loaded = make(tmp_path / "checkpoint.pt")
    export(loaded, tmp_path / "hf")
    export(loaded, tmp_path / "hf", "chatml")
    assert "im_start" in (tmp_path / "hf" / "chat_template.jinja").read_text(encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json: is there already"):
        export(loaded, tmp_path / "other")
    (tmp_path / "hf" / "notes.gguf").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.gguf: is there already"):
        export(loaded, tmp_path / "hf")
    (tmp_path / "hf" / "notes.gguf").unlink()
    (tmp_path / "hf" / "model.safetensors").write_bytes(b"trained by another program")
    with pytest.raises(InputError, match=r"model\.safetensors: is there already"):
        export(loaded, tmp_path / "hf")
    with pytest.raises(InputError, match="no template 'nope'"):
        export(loaded, tmp_path / "new", "nope")
    assert not (tmp_path / "new").exists()


class FakeHub:
    """What `push` needs of huggingface_hub.HfApi."""

    def __init__(self, refuse: str = "") -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse = refuse

    def create_repo(self, repository: str, **options: Any) -> None:
        if self.refuse:
            raise PermissionError(self.refuse)
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> str:
        self.calls.append(("upload", options))
        return f"https://huggingface.co/{options['repo_id']}"


def test_push_uploads_the_directory(tmp_path: Path) -> None:
    hub = FakeHub()
    assert push(tmp_path, "me/toy", private=True, api=hub) == "https://huggingface.co/me/toy"
    assert hub.calls[0] == ("me/toy", {"private": True, "exist_ok": True})
    assert hub.calls[1][1]["folder_path"] == tmp_path
    with pytest.raises(EquilossError, match="401 Unauthorized"):
        push(tmp_path, "me/toy", api=FakeHub("401 Unauthorized\nRequest ID: 5"))
    with pytest.raises(InputError, match="OWNER/NAME"):
        push(tmp_path, "toy", api=hub)


Program = Callable[..., Any]


def test_the_command(program: Program, tmp_path: Path) -> None:
    make(tmp_path / "checkpoint.pt")
    done = program("pretrain", "export", tmp_path / "checkpoint.pt", tmp_path / "hf")
    assert (done.code, done.out) == (0, "")
    done = program("pretrain", "import", tmp_path / "hf", "-o", tmp_path / "back" / "checkpoint.pt")
    assert done.code == 0, done.err
    back = checkpoint.load(tmp_path / "back" / "checkpoint.pt")
    assert back.run.source is not None
    assert back.run.source.layout == "gpt2"
    ids = torch.arange(20)[None]
    assert torch.equal(back.model(ids), checkpoint.load(tmp_path / "checkpoint.pt").model(ids))
    done = program("pretrain", "export", tmp_path / "nowhere.pt", tmp_path / "x")
    assert done.code == 2
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_transformers_needs_nothing_of_ours(tmp_path: Path) -> None:
    export(make(tmp_path / "checkpoint.pt"), tmp_path / "hf")
    code = (
        "import sys; from transformers import pipeline\n"
        f"made = pipeline('text-generation', {str(tmp_path / 'hf')!r}, trust_remote_code=False)\n"
        "out = made('the king', max_new_tokens=5)\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('pretrain', 'tiktoken')]\n"
        "print(out[0]['generated_text'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the king")
