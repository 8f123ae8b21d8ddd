from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from equiloss import tokenizer  # noqa: E402
from equiloss.errors import InputError  # noqa: E402
from pretrain.exchange.importing import ImportedModel, import_checkpoint, read  # noqa: E402
from pretrain.model import checkpoint  # noqa: E402
from pretrain.model.decoder import GPT  # noqa: E402

TRAINED = tokenizer.train_bpe(["the king and the queen"] * 2, 265)
State = dict[str, Tensor]
V, C, T, H, L = TRAINED.n_vocab, 16, 12, 2, 2
IDS = torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(0))


def logits(found: ImportedModel) -> Tensor:
    model = GPT(found.config).eval()
    model.load_state_dict(found.state)
    with torch.no_grad():
        return model(IDS)


@pytest.fixture
def trained_file(tmp_path: Path) -> Path:
    tokenizer.save(TRAINED, tmp_path / "own-tokenizer.json")
    return tmp_path / "own-tokenizer.json"


def noisy(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


# The diary's layout, from its published description: separate query, key and value matrices, its own layer norm.
class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(C))
        self.shift = nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() + (
            self.shift
        )


class DiaryAttention(nn.Module):
    def __init__(self, bias: bool, out_bias: bool) -> None:
        super().__init__()
        self.W_query, self.W_key, self.W_value = (nn.Linear(C, C, bias=bias) for _ in range(3))
        self.out_proj = nn.Linear(C, C, bias=out_bias)
        self.register_buffer("mask", torch.ones(T, T).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (m(x).view(*x.shape[:2], H, -1).transpose(1, 2) for m in (self.W_query, self.W_key, self.W_value))
        scores = (q @ k.transpose(2, 3)).masked_fill(self.get_buffer("mask").bool(), -torch.inf)
        return self.out_proj((torch.softmax(scores / (C // H) ** 0.5, -1) @ v).transpose(1, 2).reshape(x.shape))


class DiaryBlock(nn.Module):
    def __init__(self, bias: bool, out_bias: bool) -> None:
        super().__init__()
        self.att = DiaryAttention(bias, out_bias)
        self.ff = nn.Module()
        self.ff.layers = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))
        self.norm1, self.norm2 = Norm(), Norm()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.att(self.norm1(x))
        return x + self.ff.get_submodule("layers")(self.norm2(x))


class Diary(nn.Module):
    def __init__(self, tie: bool, bias: bool, out_bias: bool) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(V, C), nn.Embedding(T, C)
        self.trf_blocks = nn.Sequential(*(DiaryBlock(bias, out_bias) for _ in range(L)))
        self.final_norm = Norm()
        self.out_head = nn.Linear(C, V, bias=False)
        if tie:
            self.out_head.weight = self.tok_emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out_head(self.final_norm(self.trf_blocks(self.tok_emb(ids) + self.pos_emb.weight[: ids.shape[1]])))


def diary_files(directory: Path, tie: bool, bias: bool, kept: str = "", out_bias: bool = True) -> tuple[Path, Diary]:
    model = Diary(tie, bias, out_bias)
    noisy(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if tie and kept:  # safetensors' save_model keeps one of the two names
        del state[{"tok_emb.weight": "out_head.weight", "out_head.weight": "tok_emb.weight"}[kept]]
    directory.mkdir(parents=True, exist_ok=True)
    save_file(state, directory / "model.safetensors")
    settings = {"vocab_size": V, "context_length": T, "emb_dim": C, "n_heads": H, "n_layers": L, "drop_rate": 0.1}
    (directory / "model.json").write_text(
        json.dumps(settings | {"qkv_bias": bias} | ({"tie_weights": True} if tie else {})), encoding="utf-8"
    )
    return directory, model


@pytest.mark.parametrize("out_bias", [True, False])
@pytest.mark.parametrize(("tie", "bias", "kept"), [
    (False, False, ""), (False, True, ""), (True, False, ""), (True, True, "tok_emb.weight"),
    (True, False, "out_head.weight"),
])  # fmt: skip
def test_the_diarys_pair(tmp_path: Path, trained_file: Path, tie: bool, bias: bool, kept: str, out_bias: bool) -> None:
    directory, model = diary_files(tmp_path / "run", tie, bias, kept, out_bias)
    found = read(directory, str(trained_file))
    assert (found.layout, found.config.tie_weights, found.config.qkv_bias) == ("diary", tie, bias)
    assert found.config.out_bias == out_bias
    assert (found.config.dropout, found.config.norm, found.config.init) == (0.1, "var", "torch")
    with torch.no_grad():
        assert torch.allclose(logits(found), model(IDS), atol=1e-5, rtol=0)


def test_the_diarys_checkpoint_directories(tmp_path: Path, trained_file: Path) -> None:
    run, _ = diary_files(tmp_path / "run", False, False)
    best = run / "checkpoints" / "20260101Z000000-iteration-5"
    best.mkdir(parents=True)
    (run / "model.safetensors").rename(best / "model.safetensors")
    (run / "checkpoints" / "best").symlink_to(best.name, target_is_directory=True)
    for source in (run, best, best / "model.safetensors"):
        assert read(source, str(trained_file)).layout == "diary"


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
def test_gpt2_directories(tmp_path: Path, trained_file: Path, tie: bool, prefix: bool) -> None:
    """As transformers writes them, and as GPT-2's own files on the Hub are: no prefix, and causal masks."""
    transformers = pytest.importorskip("transformers")
    settings = transformers.GPT2Config(
        vocab_size=V,
        n_positions=T,
        n_embd=C,
        n_layer=L,
        n_head=H,
        tie_word_embeddings=tie,
        bos_token_id=0,
        eos_token_id=0,
    )
    theirs = transformers.GPT2LMHeadModel(settings).eval()
    noisy(theirs)
    theirs.save_pretrained(tmp_path / "gpt2")
    weights = tmp_path / "gpt2" / "model.safetensors"
    if not prefix:
        state = {name.removeprefix("transformer."): value for name, value in load_file(weights).items()}
        state["h.0.attn.bias"] = torch.ones(1, 1, T, T).tril()
        state["h.0.attn.masked_bias"] = torch.tensor(-1e4)
        save_file(state, weights)
    found = read(tmp_path / "gpt2", str(trained_file))
    assert (found.layout, found.config.tie_weights, found.config.qkv_bias) == ("gpt2", tie, True)
    with torch.no_grad():
        assert torch.allclose(logits(found), theirs(IDS).logits, atol=1e-5, rtol=0)


class NanoBlock(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(C, bias=bias), nn.LayerNorm(C, bias=bias)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_attn, self.attn.c_proj = nn.Linear(C, 3 * C, bias=bias), nn.Linear(C, C, bias=bias)
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(C, 4 * C, bias=bias), nn.Linear(4 * C, C, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn.get_submodule("c_attn")(self.ln_1(x)).split(C, 2)
        q, k, v = (t.view(*x.shape[:2], H, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.attn.get_submodule("c_proj")(y)
        wide = F.gelu(self.mlp.get_submodule("c_fc")(self.ln_2(x)), approximate="tanh")
        return x + self.mlp.get_submodule("c_proj")(wide)


def nano(bias: bool, rows: int = V) -> tuple[State, dict[str, Any], Callable[[Tensor], Tensor]]:
    """A nanoGPT's state dict, its model_args, and its hidden states before the head."""
    blocks = nn.ModuleList(NanoBlock(bias) for _ in range(L))
    inner = {"wte": nn.Embedding(rows, C), "wpe": nn.Embedding(T, C), "h": blocks, "ln_f": nn.LayerNorm(C, bias=bias)}
    parts = nn.ModuleDict(inner)
    noisy(parts)
    state = {f"transformer.{name}": value for name, value in parts.state_dict().items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    sizes = {"n_layer": L, "n_head": H, "n_embd": C, "block_size": T, "bias": bias, "vocab_size": rows, "dropout": 0.1}

    def hidden(ids: Tensor) -> Tensor:
        x = parts["wte"](ids) + parts["wpe"](torch.arange(T))
        for block in blocks:
            x = block(x)
        return parts["ln_f"](x)

    return state, sizes, hidden


def nano_file(path: Path, state: State, sizes: dict[str, Any]) -> Path:
    torch.save({"model": state, "optimizer": {}, "model_args": sizes, "iter_num": 5, "config": {}}, path)
    return path


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt_checkpoints(tmp_path: Path, trained_file: Path, bias: bool) -> None:
    """With the prefixes that torch.compile and DDP leave, and a vocabulary padded to a round size."""
    state, sizes, hidden = nano(bias, V + 7)
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    found = read(nano_file(tmp_path / "ckpt.pt", wrapped, sizes), str(trained_file))
    assert (found.config.qkv_bias, found.config.tie_weights, found.config.vocab_size) == (bias, True, V)
    assert any("7 ids without a token were dropped" in note for note in found.notes)
    expected = hidden(IDS) @ state["transformer.wte.weight"].T
    assert torch.allclose(logits(found), expected[..., :V], atol=1e-5, rtol=0)


def test_a_nanochat_checkpoint_is_refused_by_its_name(tmp_path: Path, program: Callable[..., Any]) -> None:
    directory = tmp_path / "d4"
    directory.mkdir()
    weights = {"transformer.wte.weight": torch.zeros(64, 8), "transformer.h.0.attn.c_q.weight": torch.zeros(8, 8)}
    torch.save(weights, directory / "model_000100.pt")
    (directory / "meta_000100.json").write_text('{"model_config": {"n_layer": 1}}')
    for source in (directory, directory / "model_000100.pt"):
        for command in (
            ("pretrain", "import", source, "-o", tmp_path / "x.pt"),
            ("ift", "respond", "--model", source, "--data", "x.json", "-o", tmp_path),
            ("ift", "run", "--base", source, "--name", "x", "-o", tmp_path, "--models", tmp_path / "models"),
        ):
            outcome = program(*command)
            assert outcome.code == 2
            assert f"{source}: a nanochat checkpoint: " in outcome.err.replace("\n", " ")


def test_a_nanogpt_with_a_head_of_its_own_keeps_it(tmp_path: Path, trained_file: Path) -> None:
    state, sizes, hidden = nano(bias=True)
    state["lm_head.weight"] = torch.randn(V, C, generator=torch.Generator().manual_seed(5))
    found = read(nano_file(tmp_path / "ckpt.pt", state, sizes), str(trained_file))
    assert not found.config.tie_weights
    assert any("lm_head.weight differs from its embedding" in note for note in found.notes)
    assert torch.allclose(logits(found), hidden(IDS) @ state["lm_head.weight"].T, atol=1e-5, rtol=0)


def test_biases_of_a_nanogpt_that_says_it_has_none_are_kept(tmp_path: Path, trained_file: Path) -> None:
    state, sizes, hidden = nano(bias=True)
    found = read(nano_file(tmp_path / "ckpt.pt", state, sizes | {"bias": False}), str(trained_file))
    assert found.config.qkv_bias
    assert any("h.0.attn.c_attn.bias is not zero" in note for note in found.notes)
    assert torch.allclose(logits(found), hidden(IDS) @ state["transformer.wte.weight"].T, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transformer.h.0.attn.c_attn.bias": None}, r"no tensor 'transformer\.h\.0\.attn\.c_attn\.bias'"),
        ({"transformer.h.1.mlp.c_fc.bias": None}, r"no tensor 'transformer\.h\.1\.mlp\.c_fc\.bias'"),
        ({"wte.weight": torch.zeros(V, C)}, r"holds 'transformer\.wte\.weight' under two names"),
        ({"_orig_mod.lm_head.weight": torch.zeros(V, C)}, r"_orig_mod\.lm_head\.weight is there twice"),
        ({"transformer.h.0.attn.bias": torch.ones(C)}, r"1 tensors that GPT-2 has not, .*attn\.bias"),
        ({"transformer.q_norm.weight": torch.ones(C)}, r"1 tensors that GPT-2 has not, .*q_norm"),
        (
            {"transformer.ln_f.weight": torch.full((C,), float("nan"))},
            r"ln_f\.weight holds numbers that are not finite",
        ),
        ({"transformer.wpe.weight": torch.ones(T, C, dtype=torch.int8)}, r"wpe\.weight holds torch\.int8"),
        ({"step": 5}, "step is no tensor but int"),
    ],
)
def test_no_tensor_of_a_nanogpt_is_dropped_or_made_up(
    tmp_path: Path, trained_file: Path, changes: dict[str, Any], message: str
) -> None:
    state, sizes, _ = nano(bias=True)
    changed = {name: value for name, value in (state | changes).items() if value is not None}
    with pytest.raises(InputError, match=message):
        read(nano_file(tmp_path / "ckpt.pt", changed, sizes), str(trained_file))


def test_a_diary_pair_whose_files_disagree(tmp_path: Path, trained_file: Path) -> None:
    directory, model = diary_files(tmp_path / "run", tie=False, bias=True)
    edit(qkv_bias=False)(directory)
    found = read(directory, str(trained_file))
    assert found.config.qkv_bias
    assert any("no qkv_bias, yet trf_blocks.0.att.W_" in note for note in found.notes)
    with torch.no_grad():
        assert torch.allclose(logits(found), model(IDS), atol=1e-5, rtol=0)
    drop("trf_blocks.1.att.W_key.bias")(directory)
    with pytest.raises(InputError, match=r"no tensor 'trf_blocks\.1\.att\.W_key\.bias'"):
        read(directory, str(trained_file))
    directory, _ = diary_files(tmp_path / "tied", tie=False, bias=False)
    edit(tie_weights=True)(directory)
    with pytest.raises(InputError, match=r"out_head\.weight differs from tok_emb\.weight, yet its config says"):
        read(directory, str(trained_file))


def test_biases_of_zero_are_none(tmp_path: Path, trained_file: Path) -> None:
    directory, _ = diary_files(tmp_path / "run", tie=False, bias=False)
    state = load_file(directory / "model.safetensors")
    extra = {
        f"trf_blocks.{n}.att.{part}.bias": torch.zeros(C) for n in range(L) for part in ("W_query", "W_key", "W_value")
    }
    save_file(state | extra, directory / "model.safetensors")
    assert not read(directory, str(trained_file)).config.qkv_bias


def test_weights_in_several_files(tmp_path: Path, trained_file: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": V, "n_positions": T, "n_embd": C, "n_layer": L, "n_head": H}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    noisy(theirs)
    theirs.save_pretrained(directory := tmp_path / "hf", max_shard_size="9KB")
    shards = sorted(directory.glob("model-*.safetensors"))
    assert len(shards) > 2
    found = read(directory, str(trained_file))
    with torch.no_grad():
        assert torch.allclose(logits(found), theirs(IDS).logits, atol=1e-5, rtol=0)
    import_checkpoint(directory, tmp_path / "c.pt", str(trained_file))
    before = checkpoint.load(tmp_path / "c.pt").run.source
    state = load_file(shards[-1])
    save_file({name: value + 1 for name, value in state.items()}, shards[-1])
    assert before is not None
    assert read(directory, str(trained_file)).sha256 != before.sha256
    shards[-1].unlink()
    with pytest.raises(InputError, match=f"{shards[-1].name}: no such file"):
        read(directory, str(trained_file))
    (directory / "model.safetensors.index.json").write_text('{"weight_map": {"wte.weight": "../x.safetensors"}}')
    with pytest.raises(InputError, match="is no name for a file"):
        read(directory, str(trained_file))


def test_what_is_written_is_a_checkpoint(tmp_path: Path, trained_file: Path) -> None:
    directory, model = diary_files(tmp_path / "run", False, True)
    import_checkpoint(directory, tmp_path / "out" / "checkpoint.pt", str(trained_file))
    loaded = checkpoint.load(tmp_path / "out" / "checkpoint.pt")
    assert loaded.run.source is not None
    assert loaded.run.source.layout == "diary"
    assert len(loaded.run.source.sha256) == 64
    with torch.no_grad():
        assert torch.allclose(loaded.model(IDS), model(IDS), atol=1e-5, rtol=0)


def test_gpt2s_vocabulary_brings_gpt2s_tokenizer(tmp_path: Path) -> None:
    (directory := tmp_path / "gpt2").mkdir()
    settings = {"model_type": "gpt2", "n_embd": 2, "n_layer": 1, "n_head": 1, "n_positions": 4, "vocab_size": 50257}
    (directory / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    shapes = {"ln_1": (2,), "attn.c_attn": (2, 6), "attn.c_proj": (2, 2), "ln_2": (2,), "mlp.c_fc": (2, 8)}
    state = {f"h.0.{name}.weight": torch.zeros(shape) for name, shape in (shapes | {"mlp.c_proj": (8, 2)}).items()}
    state |= {name.replace("weight", "bias"): torch.zeros(value.shape[-1]) for name, value in state.items()}
    state |= {"wte.weight": torch.zeros(50257, 2), "wpe.weight": torch.zeros(4, 2)}
    state |= {"ln_f.weight": torch.zeros(2), "ln_f.bias": torch.zeros(2)}
    save_file(state, directory / "model.safetensors")
    assert read(directory).encoding.name == "gpt2"


Change = Callable[[Path], None]


def edit(**fields: Any) -> Change:
    def change(directory: Path) -> None:
        path = directory / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")

    return change


def drop(name: str) -> Change:
    def change(directory: Path) -> None:
        state = load_file(directory / "model.safetensors")
        save_file({k: v for k, v in state.items() if k != name}, directory / "model.safetensors")

    return change


def add(name: str) -> Change:
    def change(directory: Path) -> None:
        state = load_file(directory / "model.safetensors")
        save_file(state | {name: torch.zeros(2)}, directory / "model.safetensors")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(moe={"num_experts": 4}), "mixture of experts"),
        (edit(lore={"rank": 4, "output_head": False}), "low-rank vocabulary"),
        (add("trf_blocks.0.ff.experts.0.layers.0.weight"), "mixture of experts"),
        (edit(emb_dim=32), r"is \(\d+, 16\), its config says \(\d+, 32\)"),
        (edit(n_layers=3), "no tensor 'trf_blocks.2"),
        (edit(n_layers=1), "tensors that GPT-2 has not"),
        (edit(vocab_size="many"), "vocab_size"),
        (lambda d: (d / "model.json").write_text("{}"), "no field 'n_layers'"),
        (lambda d: (d / "model.json").write_text("[1]"), "not a JSON object"),
        (lambda d: (d / "model.json").unlink(), "no model.json"),
        (lambda d: (d / "model.safetensors").write_bytes(b"xx"), "not a safetensors file"),
        (lambda d: (d / "model.safetensors").unlink(), "no model that can be read"),
        (drop("trf_blocks.1.norm2.shift"), "no tensor 'trf_blocks.1.norm2.shift'"),
        (add("lora.A"), "tensors that GPT-2 has not, such as 'lora.A'"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, trained_file: Path, change: Change, message: str) -> None:
    directory, _ = diary_files(tmp_path / "run", False, False)
    change(directory)
    with pytest.raises(InputError, match=message):
        import_checkpoint(directory, tmp_path / "out.pt", str(trained_file))
    assert not (tmp_path / "out.pt").exists()


def test_a_vocabulary_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    directory, _ = diary_files(tmp_path / "run", False, False)
    with pytest.raises(InputError, match="name one with --tokenizer"):
        read(directory)
    with pytest.raises(InputError, match="does not fit the tokenizer's 50,257"):
        read(directory, "gpt2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"n_inner": 7}, "n_inner is 7"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({}, "no model.safetensors"),
    ],
)
def test_directories_that_are_not_gpt2(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    settings = {"model_type": "gpt2", "n_embd": C, "n_layer": L, "n_head": H, "n_positions": T, "vocab_size": V}
    (tmp_path / "config.json").write_text(json.dumps(settings | changes), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_a_pickle_with_code_is_not_opened(tmp_path: Path) -> None:
    class Mark:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return open, (str(tmp_path / "pwned"), "w")

    torch.save({"model": Mark(), "model_args": {}}, tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match="holds something other than plain tensors"):
        read(tmp_path / "ckpt.pt")
    assert not (tmp_path / "pwned").exists()
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not a nanoGPT checkpoint"):
        read(tmp_path / "other.pt")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere")


def test_the_tokenizer_of_an_export_or_a_checkpoint_makes_data(tmp_path: Path) -> None:
    from equiloss.records.base_run import CheckpointRun
    from pretrain.config import ModelConfig
    from pretrain.exchange.export import export
    from pretrain.exchange.tokenizer_files import named
    from pretrain.model import checkpoint
    from pretrain.model.decoder import GPT

    own = tokenizer.train_bpe(["a few words of a text"], 280)
    config = ModelConfig(n_layer=1, n_head=1, n_embd=8, context=8, vocab_size=own.n_vocab)
    checkpoint.save(tmp_path / "a.pt", GPT(config), tokenizer.to_record(own), CheckpointRun(name="a"))
    export(checkpoint.load(tmp_path / "a.pt"), tmp_path / "hf")
    for name in (tmp_path / "a.pt", tmp_path / "hf", tmp_path / "hf" / "tokenizer.json"):
        assert tokenizer.sha256(tokenizer.load(named(str(name)))) == tokenizer.sha256(own)
    assert named("gpt2") == "gpt2"


def exported_tokenizer(directory: Path, **changes: Any) -> Path:
    """tokenizer.json of TRAINED, with some of its parts changed."""
    from pretrain.exchange import tokenizer_files

    directory.mkdir()
    tokenizer_files.write(TRAINED, directory, T)
    document = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    for name, value in changes.items():
        document[name] = value(document[name]) if callable(value) else value
    (directory / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    return directory


LETTERS = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, r"its normalizer \(NFC\) changes the text"),
        ({"normalizer": {"type": "Lowercase"}}, "its normalizer"),
        ({"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}}, "puts a space before a text"),
        ({"pre_tokenizer": BYTE_LEVEL | {"use_regex": False}}, r"does not cut text into words \(use_regex\)"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [LETTERS, BYTE_LEVEL]}},
            r"its pre-tokenizer \(Sequence\) gives",
        ),
        ({"model": lambda m: m | {"merges": m["merges"][::-1]}}, "the order of its merges is not that of its ids"),
        ({"model": lambda m: m | {"merges": m["merges"][:-1]}}, "the order of its merges gives"),
        ({"model": lambda m: m | {"type": "WordPiece"}}, "a WordPiece, not a byte-level BPE"),
        ({"model": lambda m: m | {"merges": 5}}, "not a tokenizer of Hugging Face's"),
        (
            {"added_tokens": lambda a: [*a, {**a[0], "id": V, "content": "[PAD]"}]},
            r"its added token '\[PAD\]' has no place here",
        ),
    ],
)  # fmt: skip
def test_a_tokenizer_that_gives_other_ids_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    from pretrain.exchange import tokenizer_files

    with pytest.raises(InputError, match=message):
        tokenizer_files.read(exported_tokenizer(tmp_path / "hf", **changes))


def test_gpt2s_old_pair_of_files_is_read(tmp_path: Path) -> None:
    from pretrain.exchange import tokenizer_files

    directory = exported_tokenizer(tmp_path / "hf")
    (directory / "tokenizer.json").unlink()
    found = tokenizer_files.read(directory)
    assert found is not None
    assert tokenizer.sha256(found) == tokenizer.sha256(TRAINED)
    (directory / "added_tokens.json").write_text('{"<pad>": 999}', encoding="utf-8")
    with pytest.raises(InputError, match="its added token '<pad>'"):
        tokenizer_files.read(directory)
    (directory / "added_tokens.json").unlink()
    (directory / "merges.txt").unlink()
    with pytest.raises(InputError, match=r"merges\.txt: no such file"):
        tokenizer_files.read(directory)
