"""A checkpoint as a Hugging Face directory: weights, tokenizer, generation settings, chat template, model card."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from equiloss import files, provenance, templates
from equiloss.errors import EquilossError, InputError
from equiloss.numerals import plain
from equiloss.records.base_run import CheckpointRun, TemplateUsed
from pretrain.config import ModelConfig
from pretrain.exchange import layouts, tokenizer_files
from pretrain.model.checkpoint import Checkpoint
from pretrain.model.huggingface import MARK


def export(loaded: Checkpoint, directory: Path, template: str | None = None, repository: str | None = None) -> str:
    """Write a checkpoint as a directory that AutoModelForCausalLM and AutoTokenizer load, whole or not at all.

    `template`: the instruction template of the chat template (default: the one it was fine-tuned with, or alpaca);
    `repository`: how the model card calls the model. Gives the template's name. An earlier export is replaced.
    Raises: InputError when the directory holds anything else, or the model has a norm that transformers lacks.
    """
    if loaded.config.norm != "var":
        hint = "evaluate and fine-tune it here"
        raise InputError(f"{loaded.path}: model.norm = {loaded.config.norm} is not a norm of transformers' GPT-2", hint)
    from safetensors.torch import save_file

    _check_free(directory)
    used = TemplateUsed(name=template or "alpaca") if template or not loaded.run.template else loaded.run.template
    name, text = used.name, used.source()
    chat = chat_template(text)
    with files.room_for(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        try:
            state = layouts.to_hugging_face(loaded.config, loaded.model.state_dict())
            save_file(state, temporary / "model.safetensors", metadata={"format": "pt"})
            tokenizer_files.write(loaded.encoding, temporary, loaded.config.context)
            end = loaded.encoding.eot_token
            files.write_json(
                temporary / "generation_config.json",
                {
                    "bos_token_id": end,
                    "eos_token_id": end,
                    "pad_token_id": end,
                    "do_sample": False,
                    "max_new_tokens": min(256, max(1, loaded.config.context // 2)),
                },
            )
            files.write_text(temporary / "chat_template.jinja", chat)
            where = repository or directory.name
            files.write_text(temporary / "README.md", model_card(loaded, where, name))
            settings = model_settings(loaded.config, loaded)
            settings[MARK]["files"] = {path.name: files.sha256_file(path) for path in sorted(temporary.iterdir())}
            settings[MARK]["template"] = used.model_copy(update={"text": text}).model_dump()
            files.write_json(temporary / "config.json", settings)
            temporary.chmod(0o755)
            if directory.exists():
                shutil.rmtree(directory)
            temporary.replace(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return name


def _check_free(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory}: is a file", "name a directory to write to")
    if any(directory.iterdir()):
        config = directory / "config.json"
        settings = files.read_json(config) if config.is_file() else {}
        mark = settings.get(MARK) if isinstance(settings, dict) else None
        written = mark.get("files", {}) if isinstance(mark, dict) else {}
        for path in directory.iterdir():
            ours = (path == config and written) or (
                path.is_file() and written.get(path.name) == files.sha256_file(path)
            )
            files.claim(path, bool(ours), "name a new directory, or move that file away")


def model_settings(config: ModelConfig, loaded: Checkpoint | None = None) -> dict[str, Any]:
    """config.json of transformers' GPT2LMHeadModel, every default that matters spelled out.

    `n_ctx` is what llama.cpp's converter reads; dropout is 0: it is a matter of training, not of the model.
    """
    end = (config.vocab_size or 1) - 1 if loaded is None else loaded.encoding.eot_token
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-05,
        "initializer_range": 0.02,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": config.tie_weights,
        "use_cache": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "dtype": "float32",
        MARK: config.model_dump(include={"qkv_bias", "out_bias", "init"})
        | ({} if loaded is None else {"checkpoint_sha256": loaded.sha256}),
    }


def chat_template(instruction_template: str) -> str:
    """An instruction template as a chat template: the same text, with messages for turns."""
    text = re.sub(
        r"\{%([-+]?)\s*generation\s*([-+]?)%\}",
        r"{%\1 if true %}{{ mark }}{% endif %}{% if true \2%}",
        instruction_template,
    )
    text = re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", text)
    return templates.source("export", "chat-template").replace("@TEMPLATE@\n", text)


def model_card(loaded: Checkpoint, where: str, template: str) -> str:
    """README.md of the directory, from the run's record."""
    run = loaded.run
    return templates.render(
        templates.source("export", "model-card"),
        "model-card",
        name=run.name or loaded.path.resolve().parent.name,
        repository=where,
        run=run,
        config=loaded.config,
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        tokenizer="GPT-2's BPE" if loaded.tokenizer.get("kind") == "gpt2" else "a byte-level BPE of its own",
        instruction_template=template,
        version=provenance.package_version(),
        sha256=loaded.sha256,
        facts=_facts(run),
        record=json.dumps(run.model_dump(mode="json"), indent=2, ensure_ascii=False),
    )


def _facts(run: CheckpointRun) -> list[tuple[str, str]]:
    """The lines of the card's table that this record can fill."""
    train, text = run.train_settings, run.data.source if run.data else None
    known = [
        ("base model", run.base.path if run.base else None),
        ("text", text.name or None if text else None),
        ("tokens seen", run.tokens),
        ("steps", run.steps),
        ("validation loss (nats/token)", run.validation_loss),
        ("optimizer", train.get("optimizer")),
        ("learning rate", train.get("lr")),
        ("precision", train.get("precision")),
        ("seed", train.get("seed")),
        ("imported from", run.source.path if run.source else None),
    ]

    def shown(value: object) -> str:
        if isinstance(value, float):
            return plain(round(value, 3)) if value >= 1 else plain(value)
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "/")

    return [(key, shown(value)) for key, value in known if value is not None]


def push(directory: Path, repository: str, private: bool = False, api: Any = None) -> str:
    """Upload an exported directory to the Hugging Face Hub and give its address.

    `api`: a `huggingface_hub.HfApi`; its token comes from HF_TOKEN or `hf auth login`, never from here.
    Raises: InputError when the package is missing or the name malformed; EquilossError when the Hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"{repository!r} is not the name of a repository", "write OWNER/NAME")
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        address = api.upload_folder(
            repo_id=repository, folder_path=directory, commit_message="Upload an equiloss export"
        )
    except Exception as error:  # the client's errors have no common base: network, access, quota
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EquilossError(f"the upload to {repository} failed: {reason}", "`hf auth login`, then try again") from None
    return str(address)
