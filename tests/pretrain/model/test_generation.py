"""Generation: equal to the textbook loop, whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equiloss.errors import InputError
from pretrain.config import ModelConfig
from pretrain.model import next_token
from pretrain.model.decoder import GPT
from pretrain.model.generation import Generation, generate
from pretrain.model.next_token import Chooser

CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=32, context=48, vocab_size=61)
END = 60


@pytest.fixture(scope="module")
def model() -> GPT:
    model = GPT(CONFIG, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():  # sharper than at the start, so that answers differ and end
            parameter.mul_(4)
        model.position_embedding.weight.mul_(0.5)
    return model.eval()


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    random = torch.Generator().manual_seed(0)
    head = torch.randint(0, END, (10,), generator=random).tolist()
    tails = [torch.randint(0, END, (length,), generator=random).tolist() for length in (1, 3, 30, 12, 3, 7, 1, 22)]
    return [head + tail for tail in tails[:5]] + tails[5:]


@torch.no_grad()
def textbook(model: GPT, prompt: list[int], max_new_tokens: int, end: int) -> Generation:
    """One prompt, no cache."""
    ids = list(prompt)
    while len(ids) - len(prompt) < max_new_tokens and len(ids) < model.config.context:
        choice = int(model(torch.tensor([ids]))[0, -1].argmax())
        if choice == end:
            return Generation(ids[len(prompt) :], "stop")
        ids.append(choice)
    return Generation(ids[len(prompt) :], "length")


def test_greedy_answers_are_those_of_the_textbook_loop(model: GPT, prompts: list[list[int]]) -> None:
    end = textbook(model, prompts[0], 25, end=-1).tokens[6]  # an id that the model does write
    expected = [textbook(model, prompt, 25, end) for prompt in prompts]
    assert {one.finish_reason for one in expected} == {"stop", "length"}, "the case must show both ends"
    for batch_size in (None, 1, 3):
        assert generate(model, prompts, max_new_tokens=25, eos_id=end, batch_size=batch_size) == expected


@torch.no_grad()
def test_the_cache_gives_the_hidden_states_of_the_whole_sequence(
    model: GPT, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    pick = Chooser.pick

    def keep(self: Chooser, hidden: torch.Tensor, *arguments: Any) -> torch.Tensor:
        seen.append(hidden)
        return pick(self, hidden, *arguments)

    monkeypatch.setattr(Chooser, "pick", keep)
    longest_first = sorted(prompts, key=lambda prompt: -len(prompt))
    answers = generate(model, longest_first, max_new_tokens=8, eos_id=None)
    for row, (prompt, answer) in enumerate(zip(longest_first, answers, strict=True)):
        whole = model.backbone(torch.tensor([prompt + answer.tokens]))[0]
        for step in range(8):
            assert torch.allclose(seen[step][row], whole[len(prompt) - 1 + step], atol=1e-5)


@pytest.mark.parametrize("penalty", [0.5, 1.5])
def test_what_is_written_becomes_likelier_or_less_likely(model: GPT, prompts: list[list[int]], penalty: float) -> None:
    def by_hand(prompt: list[int]) -> list[int]:
        written: list[int] = []
        while len(written) < 12 and len(prompt) + len(written) < CONFIG.context:
            logits = model(torch.tensor([prompt + written]))[0, -1].detach().clone()
            for one in set(written):
                logits[one] = logits[one] / penalty if logits[one] > 0 else logits[one] * penalty
            written.append(int(logits.argmax()))
        return written

    options = {"max_new_tokens": 12, "eos_id": None}
    plain = [one.tokens for one in generate(model, prompts, **options)]
    expected = [by_hand(prompt) for prompt in prompts]
    assert expected != plain, "the case must show a difference"
    for batch_size in (None, 2):
        answers = generate(model, prompts, repetition_penalty=penalty, batch_size=batch_size, **options)
        assert [one.tokens for one in answers] == expected


@pytest.mark.parametrize("screen", [True, False])
def test_so_they_are_with_a_large_vocabulary(
    screen: bool, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_token, "cpu_has_bf16", lambda: screen)
    large = GPT(CONFIG.model_copy(update={"vocab_size": 5000}), seed=5).eval()
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.mul_(4)
    expected = [textbook(large, prompt, 25, end=-1) for prompt in prompts]
    assert len({token for one in expected for token in one.tokens}) > 30, "the case must write many tokens"
    for batch_size in (None, 1, 3):
        assert generate(large, prompts, max_new_tokens=25, eos_id=-1, batch_size=batch_size) == expected
    half = large.to(torch.bfloat16)
    alone = [generate(half, [prompt], max_new_tokens=4, eos_id=None)[0] for prompt in prompts]
    assert [one.finish_reason for one in alone] == ["length"] * len(prompts)


def test_an_answer_ends_with_the_context(model: GPT) -> None:
    (answer,) = generate(model, [[1] * 40], max_new_tokens=100, eos_id=None)
    assert len(answer.tokens) == CONFIG.context - 40
    assert answer.finish_reason == "length"


def test_sampled_answers_do_not_depend_on_their_batch(model: GPT, prompts: list[list[int]]) -> None:
    seeds = list(range(len(prompts)))

    def sample(numbers: list[int], batch_size: int | None = None) -> list[Generation]:
        return generate(
            model,
            [prompts[number] for number in numbers],
            max_new_tokens=20,
            eos_id=END,
            temperature=1.0,
            top_k=20,
            top_p=0.9,
            seeds=[seeds[number] for number in numbers],
            batch_size=batch_size,
        )

    together = sample(seeds)
    assert sample(seeds[::-1], 2)[::-1] == together
    assert [sample([number])[0] for number in seeds] == together
    assert together != generate(model, prompts, max_new_tokens=20, eos_id=END)


def test_sampling_draws_from_the_distribution(model: GPT) -> None:
    prompt = [1, 2, 3]
    logits = model(torch.tensor([prompt]))[0, -1].detach().double() / 2.0
    n = 4000
    answers = generate(
        model, [prompt] * n, max_new_tokens=1, eos_id=None, temperature=2.0, top_k=5, seeds=list(range(n))
    )
    counts = torch.bincount(torch.tensor([one.tokens[0] for one in answers]), minlength=61)
    top, ids = logits.topk(5)
    assert counts[ids].sum() == n
    torch.testing.assert_close(counts[ids] / n, top.softmax(0).float(), atol=0.03, rtol=0)


def test_top_p_keeps_the_smallest_set_that_reaches_it(model: GPT) -> None:
    prompt = [1, 2, 3]
    share, ids = model(torch.tensor([prompt]))[0, -1].detach().softmax(0).sort(descending=True)
    wanted = float(share[:3].sum()) - 1e-4
    answers = generate(
        model, [prompt] * 500, max_new_tokens=1, eos_id=None, temperature=1.0, top_p=wanted, seeds=list(range(500))
    )
    assert {one.tokens[0] for one in answers} == set(ids[:3].tolist())


def test_each_answer_is_reported_once_as_it_ends(model: GPT, prompts: list[list[int]]) -> None:
    seen: dict[int, Generation] = {}

    def note(number: int, answer: Generation) -> None:
        assert number not in seen
        seen[number] = Generation(list(answer.tokens), answer.finish_reason)

    answers = generate(model, prompts, max_new_tokens=25, eos_id=END, on_done=note)
    assert [seen[number] for number in range(len(prompts))] == answers


def test_nothing_to_do_and_prompts_that_cannot_be_continued(model: GPT) -> None:
    assert generate(model, [], max_new_tokens=5, eos_id=END) == []
    with pytest.raises(InputError, match="prompt 2 has 0 tokens"):
        generate(model, [[1], []], max_new_tokens=5, eos_id=END)
    with pytest.raises(InputError, match="48 tokens"):
        generate(model, [[1] * 48], max_new_tokens=5, eos_id=END)
    with pytest.raises(InputError, match="seed"):
        generate(model, [[1]], max_new_tokens=5, eos_id=END, temperature=1.0)
