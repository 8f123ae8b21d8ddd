"""Checkpoints from elsewhere: GPT-2 directories, the diary's pairs of files, nanoGPT's ckpt.pt."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from equiloss import files, provenance, tokenizer
from equiloss.config import validate
from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun, ImportedFrom
from pretrain.config import ModelConfig
from pretrain.exchange import layouts, tokenizer_files
from pretrain.exchange.export import MARK
from pretrain.exchange.layouts import State
from pretrain.model import checkpoint

if TYPE_CHECKING:
    from tiktoken import Encoding

Layout = Literal["gpt2", "diary", "nanogpt"]
HINT = "known: a GPT-2 directory, model.json with model.safetensors, a nanoGPT ckpt.pt"
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


@dataclass
class Imported:
    """A model in this project's layout, not yet written."""

    config: ModelConfig
    state: State
    encoding: Encoding
    layout: Layout
    weights: Path
    notes: list[str]


def import_checkpoint(source: Path, output: Path, tokenizer_name: str | None = None) -> Imported:
    """Read a checkpoint from elsewhere and write it as checkpoint.pt.

    `tokenizer_name`: gpt2 or a file (default: the source's own, or GPT-2's where the vocabulary has its size).
    Raises: InputError for an unknown layout, tensors that do not fit, or a vocabulary smaller than the tokenizer's.
    """
    found = read(source, tokenizer_name)
    record = CheckpointRun(
        kind="import",
        name=source.resolve().name,
        source=ImportedFrom(path=str(source), layout=found.layout, sha256=files.sha256_file(found.weights)),
        notes=found.notes,
        provenance=provenance.provenance(),
    )
    checkpoint.save_state(output, found.config, found.state, tokenizer.to_record(found.encoding), record)
    return found


def read(source: Path, tokenizer_name: str | None = None) -> Imported:
    """Read a checkpoint from elsewhere without writing anything (see `import_checkpoint`)."""
    if not source.exists():
        raise InputError(f"{source}: no such file or directory", HINT)
    own = None
    notes: list[str] = []
    directory = source if source.is_dir() else source.parent
    if source.suffix in (".pt", ".pth", ".ckpt") and source.name != "pytorch_model.bin":
        layout: Layout = "nanogpt"
        weights = source
        config, state = _nanogpt(source)
        notes.append("nanoGPT computes GELU exactly, this model in GPT-2's tanh form: logits differ by about 0.001")
    elif (directory / "config.json").exists():
        layout = "gpt2"
        weights, config, state = _gpt2(directory)
        own = tokenizer_files.read(directory)
    else:
        layout = "diary"
        weights, settings = _diary_files(source)
        config, state = _diary(weights, settings)
    encoding = _encoding(tokenizer_name, own, config, source)
    config, state = _trim(config, state, encoding, source, notes)
    return Imported(config, state, encoding, layout, weights, notes)


def _weights(directory: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).exists():
            return directory / name
    raise InputError(f"{directory}: no model.safetensors in it", "sharded weights: save them again as one file")


def _load(path: Path) -> State:
    """Tensors of a safetensors file, or of a torch file that holds nothing else."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: not a safetensors file: {error}", "fetch it again") from None
    return cast("State", _torch(path))


def _torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds something other than plain tensors, so it is not opened", HINT) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError):
        raise InputError(f"{path}: not a checkpoint, or damaged", HINT) from None


def _gpt2(directory: Path) -> tuple[Path, ModelConfig, State]:
    path = directory / "config.json"
    settings = _object(path)
    if settings.get("model_type") != "gpt2":
        raise InputError(f"{path}: model_type {settings.get('model_type')!r}, not 'gpt2'", HINT)
    for key, value in FIXED.items():
        if settings.get(key, value) != value:
            raise InputError(f"{path}: {key} is {settings[key]!r}", f"only {value!r} can be imported")
    width = settings.get("n_embd", 768)
    if settings.get("n_inner") not in (None, 4 * width):
        raise InputError(f"{path}: n_inner is {settings['n_inner']}", f"only 4 x n_embd = {4 * width} can be imported")
    weights = _weights(directory)
    state = _load(weights)
    head = state.get("lm_head.weight")
    tied = bool(settings.get("tie_word_embeddings", True))
    own = cast("Mapping[str, Any]", settings.get(MARK) or {})
    config = _config(
        path,
        n_layer=settings.get("n_layer", 12),
        n_head=settings.get("n_head", 12),
        n_embd=width,
        context=settings.get("n_positions", settings.get("n_ctx", 1024)),
        vocab_size=settings.get("vocab_size", 50257),
        tie_weights=tied,
        qkv_bias=own.get("qkv_bias", True),
    )
    embedding = state.get("transformer.wte.weight", state.get("wte.weight"))
    if tied and head is not None and embedding is not None and not torch.equal(head, embedding):
        raise InputError(f"{weights}: lm_head differs from the embedding, yet {path} says they are tied", "mend one")
    return weights, config, _fits(config, layouts.from_hugging_face(config, state, str(weights)), weights)


def _diary_files(source: Path) -> tuple[Path, Path]:
    """model.safetensors and model.json, which lie together, or the latter in the run's directory above."""
    candidates = [source] if source.is_file() else [source, source / "checkpoints" / "best", source / "best"]
    for place in candidates:
        weights = place if place.is_file() else place / "model.safetensors"
        if weights.is_file() and weights.suffix == ".safetensors":
            for above in (weights.parent, *weights.absolute().parents[1:4]):
                if (above / "model.json").is_file():
                    return weights, above / "model.json"
            raise InputError(f"{weights}: no model.json beside it or above it", "the model's shape is in that file")
    raise InputError(f"{source}: no model that can be read", HINT)


def _diary(weights: Path, path: Path) -> tuple[ModelConfig, State]:
    settings = _object(path)
    if "moe" in settings:
        raise InputError(f"{path}: a mixture of experts", "only dense models can be imported")
    try:
        config = _config(
            path,
            n_layer=settings["n_layers"],
            n_head=settings["n_heads"],
            n_embd=settings["emb_dim"],
            context=settings["context_length"],
            vocab_size=settings["vocab_size"],
            tie_weights=settings.get("tie_weights", False),
            qkv_bias=settings.get("qkv_bias", False),
        )
    except KeyError as error:
        raise InputError(f"{path}: no field {error.args[0]!r}", "is it the model.json of this model?") from None
    return config, _fits(config, layouts.from_diary(config, _load(weights), str(weights)), weights)


def _nanogpt(path: Path) -> tuple[ModelConfig, State]:
    document = _torch(path)
    if not isinstance(document, dict) or not {"model", "model_args"} <= set(cast("dict[str, Any]", document)):
        raise InputError(f"{path}: not a nanoGPT checkpoint (no `model` and `model_args` in it)", HINT)
    settings = cast("dict[str, Any]", document["model_args"])
    state = cast("State", document["model"])
    try:
        config = _config(
            path,
            n_layer=settings["n_layer"],
            n_head=settings["n_head"],
            n_embd=settings["n_embd"],
            context=settings["block_size"],
            vocab_size=settings["vocab_size"],
            tie_weights=True,
            qkv_bias=bool(settings.get("bias", True)),
        )
    except KeyError as error:
        raise InputError(f"{path}: no `{error.args[0]}` in its model_args", HINT) from None
    return config, _fits(config, layouts.from_nanogpt(config, state, str(path)), path)


def _object(path: Path) -> dict[str, Any]:
    document = files.read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object", HINT)
    return cast("dict[str, Any]", document)


def _config(path: Path, **fields: Any) -> ModelConfig:
    return validate(ModelConfig, fields, str(path))


def _fits(config: ModelConfig, state: State, where: Path) -> State:
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
    return state


def _encoding(name: str | None, own: Encoding | None, config: ModelConfig, source: Path) -> Encoding:
    if name is not None:
        return tokenizer.load(name)
    if own is not None:
        return own
    if (
        config.vocab_size is not None
        and tokenizer.GPT2_VOCABULARY <= config.vocab_size < tokenizer.GPT2_VOCABULARY + 128
    ):
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
