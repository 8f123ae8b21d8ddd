"""Fixtures for all tests: the programs, and the real data where it is present."""

from __future__ import annotations

import importlib
import random
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, settings
from typer.main import get_command

# No test is about time: a busy machine must not fail a property.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    out: str
    err: str


def parse_command(line: str) -> dict[str, Any]:
    """See the fixture `parse`."""
    name, *arguments = shlex.split(line, comments=True)
    if name in ("torchrun", "python"):
        launched = arguments.index("-m")
        name, *arguments = arguments[launched + 1 :]
    given: list[dict[str, Any]] = []

    def record(command: Any) -> None:
        for inner in getattr(command, "commands", {}).values():
            record(inner)
        if not hasattr(command, "commands"):
            command.callback = lambda **values: given.append(values)

    command = get_command(importlib.import_module(f"{name}.cli.main").program)
    record(command)
    try:
        command.main(arguments, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        raise ValueError(f"{line}: {error.format_message()}") from None
    return given[0] if given else {}


@pytest.fixture(autouse=True)
def no_real_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test talks to an endpoint that the developer's environment names."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one of the four programs in this process, through its real entry point: `program("judge", "score", …)`."""

    def run(name: str, *arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            importlib.import_module(f"{name}.cli.main").main()
        captured = capfd.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return run


KillAgain = Callable[..., list[Path]]


@pytest.fixture
def kill_again(tmp_path: Path) -> KillAgain:
    """Kill a command at random moments and run it again to its end, in one fresh directory after another.

    `kill_again(start, progress, kills)`: `start(directory)` starts the command, `progress(directory)` is what changes
    whenever there is more to go on from. Most kills come a moment after it has changed once to three times, a fifth at
    any moment from the start. Returns the directories, in which `kills` were killed in all; each ended with 0, and
    holds nothing that is half written.
    """

    def kill(
        start: Callable[[Path], subprocess.Popen[bytes]], progress: Callable[[Path], object], kills: int, seed: int = 0
    ) -> list[Path]:
        draw, done, directories = random.Random(seed), 0, list[Path]()
        while done < kills:
            directory = tmp_path / f"killed-{len(directories)}"
            directory.mkdir()
            directories.append(directory)
            ended = False
            for number in range(kills):
                process, before, changes = start(directory), progress(directory), draw.randint(1, 3)
                if number % 5 == 4:
                    time.sleep(draw.uniform(0.0, 4.0))
                else:
                    while changes and process.poll() is None:
                        time.sleep(0.002)
                        if (now := progress(directory)) != before:
                            before, changes = now, changes - 1
                    time.sleep(draw.uniform(0.0, 0.2))
                ended = process.poll() is not None
                process.kill()
                assert process.wait(600) in (0, -signal.SIGKILL)
                done += not ended
                if ended or done == kills:
                    break
            assert ended or start(directory).wait(3600) == 0
            assert not list(directory.rglob("*.tmp"))
        return directories

    return kill


@pytest.fixture(scope="session")
def parse() -> Callable[[str], dict[str, Any]]:
    """Parse a command line with the real programs and run nothing: `parse("judge score a.jsonl")`.

    Returns the values that the command would be given. Also takes `torchrun … -m ift run …` and `python -m …`. Files
    need not exist. Raises: ValueError for a command line that its program would refuse, with the reason.
    """
    return parse_command


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; skips where it is not present."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data is not present")
    return SHARED_DATA


SHAPES: dict[str, dict[str, object]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "gpt_neox": {},
    "olmo2": {},
    "phi": {},
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 128},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8},
    "granite": {"logits_scaling": 3.0},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 0.5},
    "bloom": {"n_head": 4, "n_layer": 2},
}
"""Tiny models of `transformers`: what each needs beside the common shape. The last two cannot be packed."""
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def make_foreign(tmp_path: Path) -> Callable[..., Path]:
    """Writes an untrained model of `transformers` with a tokenizer that has, or lacks, a beginning and an end."""
    pytest.importorskip("transformers")

    def make(kind: str, *, bos: bool = False, end: bool = True, chat: str | None = None) -> Path:
        import torch
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

        library: Any = Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"] if end else []
        trainer: Any = trainers.BpeTrainer(
            vocab_size=300,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=special,
            show_progress=False,
        )
        library.train_from_iterator(["ant bee cat dog elk Repeat the words. Reverse"] * 5, trainer)
        if bos:
            library.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        names = {"eos_token": "</s>", "bos_token": "<s>"} if end else {}
        tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=library, **names)
        tokenizer.chat_template = chat
        shape = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        ids = {"eos_token_id": 1 if end else None, "bos_token_id": 0 if bos else None, "pad_token_id": None}
        heads = {"num_attention_heads": 4, "max_position_embeddings": 128}
        config = AutoConfig.for_model(kind, **{**shape, **heads, **ids, **SHAPES[kind]})
        torch.manual_seed(3)
        model: Any = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
        directory = tmp_path / kind
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return directory

    return make
