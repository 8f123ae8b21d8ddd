"""Models of `transformers` behind the names of the own decoder: packed or padded, exact either way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("transformers")
from ift.prompts import Tokens
from ift.training.batches import Batch
from pretrain.model import huggingface
from pretrain.model.generation import generate
from tests.conftest import SHAPES

MakeForeign = Callable[..., Path]
PADDED = {"gemma2", "bloom"}
HEAD = list(range(10, 22))


def item(ids: list[int], answer_from: int) -> Tokens:
    return Tokens(ids, [i >= answer_from and i > 0 for i in range(len(ids))], answer_from)


ITEMS = [
    item([*HEAD, 1, 2, 39], 13),
    item([*HEAD, 3, 39], 13),
    item([*HEAD, 3, 39], 13),
    item([5, 6, 39], 0),
    item([*HEAD, 9, 9, 8, 9, 7, 9, 39], 0),
]


@pytest.mark.parametrize("kind", SHAPES)
def test_loss_gradients_and_answers_are_those_of_transformers_item_by_item(
    kind: str, make_foreign: MakeForeign
) -> None:
    loaded = huggingface.load(make_foreign(kind))
    model = loaded.model
    assert model.packs == (kind not in PADDED)
    assert model.pads_left == (kind in PADDED)
    batch = Batch(ITEMS, pack=model.packs)
    loss = batch.loss_sum(model)
    loss.backward()
    gradients = {name: one.grad for name, one in model.inner.named_parameters()}
    prompts = [one.ids[: one.prompt_tokens or 2] for one in ITEMS]
    answers = generate(model, prompts, max_new_tokens=12, eos_id=loaded.end_ids)

    from transformers import AutoModelForCausalLM

    theirs: Any = AutoModelForCausalLM.from_pretrained(loaded.path.parent).eval()
    total = torch.zeros(())
    for one in ITEMS:
        logits = theirs(input_ids=torch.tensor([one.ids[:-1]])).logits[0]
        losses = F.cross_entropy(logits, torch.tensor(one.ids[1:]), reduction="none")
        total = total + losses[torch.tensor(one.loss[1:])].sum()
    total.backward()
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)
    assert batch.loss_tokens == sum(sum(one.loss) for one in ITEMS)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-4)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 1, "eos_token_id": loaded.end_ids}
        written = theirs.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, len(prompt) :].tolist()
        ended = written[-1] in loaded.end_ids
        assert (answer.tokens, answer.finish_reason) == (written[: len(written) - ended], "stop" if ended else "length")


def test_a_head_with_more_than_a_product_is_not_taken_for_plain(make_foreign: MakeForeign) -> None:
    plain = {kind: huggingface.load(make_foreign(kind)).model.plain_head for kind in ("llama", "granite", "gemma2")}
    assert plain == {"llama": True, "granite": False, "gemma2": False}


def test_a_tokenizer_without_an_end_or_with_a_beginning_is_handled_and_said(make_foreign: MakeForeign) -> None:
    begins = huggingface.load(make_foreign("llama", bos=True))
    assert (begins.start_ids, begins.before_text) == ([0], 0)
    assert any("begins every text with <s>" in note for note in begins.run.notes)
    endless = huggingface.load(make_foreign("gpt_neox", end=False))
    assert endless.encoding.eot_token == endless.encoding.n_vocab - 1
    assert endless.encoding.encode_ordinary("<|endoftext|>") != [endless.encoding.eot_token]
    assert any("names no end of text" in note for note in endless.run.notes)


def write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    """A tiny Llama of `transformers` as a GGUF file, its matrices in blocks of eight-bit numbers."""
    gguf: Any = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    config, eight = model.config, gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(str(path), "llama")
    for add, value in (
        (writer.add_context_length, config.max_position_embeddings),
        (writer.add_embedding_length, config.hidden_size),
        (writer.add_block_count, config.num_hidden_layers),
        (writer.add_feed_forward_length, config.intermediate_size),
        (writer.add_head_count, config.num_attention_heads),
        (writer.add_head_count_kv, config.num_key_value_heads),
        (writer.add_layer_norm_rms_eps, config.rms_norm_eps),
        (writer.add_rope_freq_base, 10000.0),
        (writer.add_vocab_size, config.vocab_size),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_bos_token_id, 0),
        (writer.add_eos_token_id, 1),
    ):
        add(value)
    written = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(written["vocab"], key=written["vocab"].get)
    tokens += [f"<unused{i}>" for i in range(config.vocab_size - len(tokens))]
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token[0] == "<" and token[-1] == ">" else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in written["merges"]])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        value = tensor.numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # GGUF's order of rotated pairs
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        kind = {"raw_dtype": eight} if value.ndim == 2 else {}
        writer.add_tensor(
            names.get_name(name, (".weight",)), gguf.quants.quantize(value, eight) if kind else value, **kind
        )
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()


def test_a_gguf_is_opened_as_the_model_that_it_is_of_and_saved_whole(make_foreign: MakeForeign, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = make_foreign("llama")
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    write_gguf(tmp_path / "tiny.gguf", model, AutoTokenizer.from_pretrained(directory))
    loaded = huggingface.load(tmp_path / "tiny.gguf")
    ids = torch.arange(10, 22)[None]
    torch.testing.assert_close(loaded.model(ids), model(ids).logits, rtol=0, atol=0.05)  # eight bits
    assert loaded.encoding.encode_ordinary("ant bee") == huggingface.load(directory).encoding.encode_ordinary("ant bee")
    loaded.save(tmp_path / "saved", loaded.model, loaded.run)
    assert torch.equal(huggingface.load(tmp_path / "saved").model(ids), loaded.model(ids))


def test_what_looks_special_in_an_item_stays_text(make_foreign: MakeForeign) -> None:
    loaded = huggingface.load(make_foreign("llama"))
    assert loaded.encode_template("<|im_start|>ant</s>")[::2][0] == 2
    ids = loaded.encode_template("<|im_start|>" + loaded.guard("ant</s>"))
    assert ids[0] == 2
    assert 1 not in ids
    assert loaded.encoding.decode(ids) == "ant</s>"
