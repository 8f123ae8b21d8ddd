"""Checkpoints from elsewhere: GPT-2 directories, the diary's pairs of files, nanoGPT's ckpt.pt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from equiloss import files, provenance, tokenizer
from equiloss.config import validate
from equiloss.errors import InputError
from equiloss.numerals import number
from equiloss.records.base_run import CheckpointRun, ImportedFrom
from pretrain.config import ModelConfig
from pretrain.exchange import diary, layouts, tokenizer_files
from pretrain.exchange.layouts import Layout, State
from pretrain.model import checkpoint
from pretrain.model.huggingface import MARK, trained_template

if TYPE_CHECKING:
    from tiktoken import Encoding

HINT = "known: a GPT-2 directory, model.json with model.safetensors, a nanoGPT ckpt.pt"
SAMPLES, SAMPLE_TOKENS = 8, 64
"""How much text of the model's own the two kinds of layer norm are compared on."""
PADDING = 128
"""Vocabularies are padded to a multiple of at most this."""
FIXED = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-05,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""What transformers' GPT-2 can vary and this model cannot."""
SAME: dict[object, object] = {"gelu_pytorch_tanh": "gelu_new"}
"""Other names of one function."""
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What data parallel training, torch.compile and checkpointing put into the names of a model."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where a Hugging Face directory has its weights, or the index of the files that share them."""
DIARY_SHAPE = {
    "n_layer": "n_layers",
    "n_head": "n_heads",
    "n_embd": "emb_dim",
    "context": "context_length",
    "dropout": "drop_rate",
}
RENAMED: dict[Layout, dict[str, str]] = {
    "gpt2": {"context": "n_positions", "tie_weights": "tie_word_embeddings"},
    "diary": DIARY_SHAPE,
    "diary-jax": DIARY_SHAPE,
    "nanogpt": {"context": "block_size", "qkv_bias": "bias"},
}
"""What a layout calls those fields of a model's shape that ModelConfig calls otherwise."""


@dataclass
class ImportedModel:
    """A model in this project's layout, not yet written."""

    config: ModelConfig
    state: State
    encoding: Encoding
    layout: Layout
    weights: Path
    notes: list[str]
    training: CheckpointRun
    """What its files say about its training: the fields of a record that they give."""

    @cached_property
    def sha256(self) -> str:
        """The hash of its weights' file; of the hashes of several."""
        return files.sha256_files(_shards(self.weights))


def import_checkpoint(source: Path, output: Path, tokenizer_name: str | None = None) -> ImportedModel:
    """Read a checkpoint from elsewhere and write it as checkpoint.pt.

    `tokenizer_name`: gpt2 or a file (default: the source's own, or GPT-2's where the vocabulary has its size).
    Raises: InputError for an unknown layout, tensors that do not fit, or a vocabulary smaller than the tokenizer's.
    """
    model = read(source, tokenizer_name)
    write(model, source, output)
    return model


def write(model: ImportedModel, source: Path, output: Path) -> None:
    """Write what was read from `source` as checkpoint.pt. Raises: InputError where other things stand there."""
    earlier = checkpoint.made_by(output)
    before = earlier.source.path if earlier is not None and earlier.kind == "import" and earlier.source else None
    files.claim(output, before == str(source), "name another file with -o")
    record = model.training.model_copy(
        update={
            "kind": "import",
            "name": source.resolve().name,
            "source": ImportedFrom(path=str(source), layout=model.layout, sha256=model.sha256),
            "notes": model.notes,
            "provenance": provenance.provenance(),
        }
    )
    checkpoint.save_state(output, model.config, model.state, tokenizer.to_record(model.encoding), record)


def read(source: Path, tokenizer_name: str | None = None) -> ImportedModel:
    """Read a checkpoint from elsewhere without writing anything (see `import_checkpoint`)."""
    if not source.exists():
        raise InputError(f"{source}: no such file or directory", HINT)
    checkpoint.refuse_nanochat(source)
    with files.reading(source, "a model of a known layout", HINT):
        own, training = None, CheckpointRun()
        notes: list[str] = []
        directory = source if source.is_dir() else source.parent
        if source.suffix in (".pt", ".pth", ".ckpt") and source.name != "pytorch_model.bin":
            layout: Layout = "nanogpt"
            weights = source
            config, tensors = _nanogpt(source)
            notes.append("nanoGPT computes GELU exactly, this model in GPT-2's tanh form: logits differ by about 0.001")
        elif (directory / "config.json").exists():
            layout = "gpt2"
            weights, config, tensors, training = _gpt2(directory)
            own = tokenizer_files.read(directory)
        else:
            layout, weights, config, tensors, training = _diary(source)
            notes += training.notes
        config, state, found = layouts.from_layout(layout, config, tensors, str(weights))
        notes += found
        _check_shapes(config, state, weights)
        encoding = _encoding(tokenizer_name, own, config, source)
        config, state = _trim(config, state, encoding, source, notes)
        if config.norm == "std":
            notes.append(_norms_apart(config, state, encoding))
    return ImportedModel(config, state, encoding, layout, weights, notes, training)


def _shape(layout: Layout, settings: Mapping[str, object], path: Path, **defaults: object) -> ModelConfig:
    names = {field: RENAMED[layout].get(field, field) for field in ModelConfig.model_fields}
    fields = defaults | {field: settings[name] for field, name in names.items() if name in settings}
    for field in ("n_layer", "n_head", "n_embd", "context", "vocab_size"):
        if field not in fields:
            raise InputError(f"{path}: no field {names[field]!r} of the model's shape", HINT)
    return validate(ModelConfig, fields, str(path))


def _weights(directory: Path) -> Path:
    for name in WEIGHTS:
        if (directory / name).exists():
            return directory / name
    raise InputError(f"{directory}: no model.safetensors in it", "fetch its weights too")


def _shards(path: Path) -> list[Path]:
    """The files of the weights: the file itself, or those that an index names. Raises: InputError."""
    if path.suffix != ".json":
        return [path]
    known = _object(path).get("weight_map")
    if not isinstance(known, dict) or not known or not all(isinstance(name, str) for name in known.values()):  # pyright: ignore
        raise InputError(f"{path}: no weight_map in it", "fetch it again")
    return [files.child(path.parent, name) for name in sorted(set(known.values()))]  # pyright: ignore


def _load(path: Path) -> State:
    """Tensors of safetensors files, or of torch files that hold nothing else; an index stands for those it names."""
    from safetensors.torch import load_file

    tensors: list[tuple[str, Any]] = []
    for shard in _shards(path):
        if shard.suffix == ".safetensors":
            with files.reading(shard, "a safetensors file", "fetch it again"):
                tensors += load_file(shard).items()
        else:
            tensors += _entries(checkpoint.load_plain(shard, HINT), shard)
    return _unwrapped(tensors, path)


def _entries(document: Any, path: Path) -> Iterable[tuple[str, Any]]:
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds no tensors by name", HINT)
    return document.items()  # pyright: ignore[reportUnknownVariableType]


def _unwrapped(tensors: Iterable[tuple[str, Any]], path: Path) -> State:
    """The tensors by their names without what wraps them. Raises: InputError for a name twice, and what is no tensor.

    What shares another's name is not dropped: it could be another tensor.
    """
    state: State = {}
    for key, tensor in tensors:
        name = ".".join(part for part in str(key).split(".") if part not in WRAPPERS)
        if name in state or not isinstance(tensor, torch.Tensor):
            what = "there twice" if name in state else f"no tensor but {type(tensor).__name__}"
            raise InputError(f"{path}: {key} is {what}", HINT)
        state[name] = tensor
    return state


def _gpt2(directory: Path) -> tuple[Path, ModelConfig, State, CheckpointRun]:
    path = directory / "config.json"
    settings = _object(path)
    if settings.get("model_type") != "gpt2":
        raise InputError(f"{path}: model_type {settings.get('model_type')!r}, not 'gpt2'", HINT)
    for key, value in FIXED.items():
        if SAME.get(settings.get(key, value), settings.get(key, value)) != value:
            raise InputError(f"{path}: {key} is {settings[key]!r}", f"only {value!r} can be imported")
    if "n_ctx" in settings:
        settings.setdefault("n_positions", settings["n_ctx"])
    usual = ModelConfig(vocab_size=tokenizer.GPT2_VOCABULARY)
    config = _shape("gpt2", {**settings, **settings.get(MARK, {})}, path, **usual.model_dump())
    if settings.get("n_inner") not in (None, 4 * config.n_embd):
        hint = f"only 4 x n_embd = {4 * config.n_embd} can be imported"
        raise InputError(f"{path}: n_inner is {settings['n_inner']}", hint)
    weights, template = _weights(directory), trained_template(settings.get(MARK), str(path))
    training = CheckpointRun() if template is None else CheckpointRun(template=template)
    return weights, config, _load(weights), training


def _diary(source: Path) -> tuple[Layout, Path, ModelConfig, State, CheckpointRun]:
    weights, path = diary.find(source)
    settings, tensors = _object(path), _load(weights)
    diary.check(settings, tensors, path)
    layout: Layout = "diary-jax" if "token_embedding.embedding" in tensors else "diary"
    out_bias = "attention.output_projection.bias" if layout == "diary-jax" else "att.out_proj.bias"
    config = _shape(
        *(layout, settings, path),
        tie_weights=False,
        qkv_bias=False,
        out_bias=any(name.endswith(out_bias) for name in tensors),
        norm="std" if layout == "diary-jax" else "var",
        init="flax" if layout == "diary-jax" else "torch",
    )
    return layout, weights, config, tensors, diary.training(weights, config)


def _norms_apart(config: ModelConfig, state: State, encoding: Encoding) -> str:
    """How far the model's loss moves under torch's norm, in a sentence: on text that it writes itself."""
    from pretrain.model.decoder import GPT
    from pretrain.model.generation import generate

    def model(norm: str) -> GPT:
        built = GPT(config.model_copy(update={"norm": norm})).eval()
        built.load_state_dict(state)
        return built

    own, end = model("std"), encoding.eot_token
    length = min(SAMPLE_TOKENS, config.context - 1)
    texts = generate(own, [[end]] * SAMPLES, max_new_tokens=length, eos_id=None, temperature=1.0, seeds=range(SAMPLES))
    ids = torch.tensor([[end, *text.tokens] for text in texts])
    with torch.no_grad():
        losses = [float(one(ids[:, :-1], ids[:, 1:])) for one in (own, model("var"))]
    return (
        f"its layer norms divide by the standard deviation plus 1e-5 (model.norm = std): {number(losses[0], 4)} nats "
        f"per token on {ids[:, 1:].numel()} tokens that it writes itself, {number(losses[1], 4)} under torch's norm "
        f"({number(losses[1] - losses[0], 4, sign=True)})"
    )


def _nanogpt(path: Path) -> tuple[ModelConfig, State]:
    document = checkpoint.load_plain(path, HINT)
    checkpoint.refuse_nanochat(path, document)
    if not isinstance(document, dict) or not {"model", "model_args"} <= document.keys():
        raise InputError(f"{path}: not a nanoGPT checkpoint (no `model` and `model_args` in it)", HINT)
    if not isinstance(document["model_args"], dict):
        raise InputError(f"{path}: its model_args are no fields of a shape", HINT)
    return _shape("nanogpt", document["model_args"], path), _unwrapped(_entries(document["model"], path), path)


def _object(path: Path) -> Any:
    document = files.read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object", HINT)
    return document


def _check_shapes(config: ModelConfig, state: State, where: Path) -> None:
    """Raise InputError when a tensor has not the shape that the config says."""
    from pretrain.model.decoder import GPT

    with torch.device("meta"):
        expected = GPT(config).state_dict()
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise InputError(
                f"{where}: {name} is {tuple(value.shape)}, its config says {tuple(expected[name].shape)}",
                "do the two files belong together?",
            )


def _encoding(name: str | None, own: Encoding | None, config: ModelConfig, source: Path) -> Encoding:
    if name is not None:
        return tokenizer.load(tokenizer_files.named(name))
    if own is not None:
        return own
    if 0 <= (config.vocab_size or 0) - tokenizer.GPT2_VOCABULARY < PADDING:
        return tokenizer.gpt2()
    raise InputError(
        f"{source}: which tokenizer its {config.vocab_size:,} ids belong to is not in it", "name one with --tokenizer"
    )


def _trim(
    config: ModelConfig, state: State, encoding: Encoding, source: Path, notes: list[str]
) -> tuple[ModelConfig, State]:
    """Drop the rows that pad a vocabulary to a round size: no token belongs to them."""
    size = config.vocab_size or 0
    if not 0 <= size - encoding.n_vocab < PADDING:
        raise InputError(
            f"{source}: its vocabulary of {size:,} does not fit the tokenizer's {encoding.n_vocab:,}",
            "name the tokenizer it was trained with by --tokenizer",
        )
    if size > encoding.n_vocab:
        notes.append(f"{size - encoding.n_vocab} ids without a token were dropped from the vocabulary")
        for name in ("token_embedding.weight", "unembedding.weight"):
            if name in state:
                state[name] = state[name][: encoding.n_vocab].clone()
    return config.model_copy(update={"vocab_size": encoding.n_vocab}), state
