"""Templates: the exact wording, and which tokens carry loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiloss import tokenizer
from equiloss.errors import InputError
from equiloss.records.response import Example, Turn
from equiloss.templates import names
from ift import prompts

PLAIN = Example(id="1", instruction="Name a colour.", reference="Blue.")
WITH_INPUT = Example(id="2", instruction="Add.", input="2 and 3", reference="5")
TALK = Example(
    id="3",
    instruction="And then?",
    reference="Then C.",
    system="Be brief.",
    history=(Turn(instruction="What comes after A?", response="B."),),
)
ALL = names("ift")


def prompt_text(template: prompts.Template, example: Example) -> str:
    return "".join(segment.text for segment in template.prompt(example))


def test_alpaca_is_stanfords_wording() -> None:
    alpaca = prompts.load("alpaca")
    assert prompt_text(alpaca, WITH_INPUT) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:"
    )
    assert prompt_text(alpaca, PLAIN) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName a colour.\n\n### Response:"
    )


def test_the_diarys_wording() -> None:
    assert prompt_text(prompts.load("diary"), WITH_INPUT) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alpaca-short", "### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:\n"),
        ("plain", "Question: Add. 2 and 3\nAnswer:"),
        ("phi", "<|user|>\nAdd.:\n2 and 3<|end|>\n<|assistant|>\n"),
        ("chatml", "<|im_start|>user\nAdd.\n\n2 and 3<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_the_other_wordings(name: str, text: str) -> None:
    assert prompt_text(prompts.load(name), WITH_INPUT) == text


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("example", [PLAIN, WITH_INPUT, TALK], ids=["plain", "input", "talk"])
def test_loss_lies_on_the_answers_and_once_on_the_end(name: str, example: Example) -> None:
    template, encoding = prompts.load(name), tokenizer.gpt2()
    tokens = template.tokens(example, encoding.encode_ordinary, encoding.eot_token)
    masked = [one for one, carries in zip(tokens.ids, tokens.loss, strict=True) if carries]
    answers = [template.lead + one for one in [*(turn.response for turn in example.history), example.reference]]
    close = {"phi": "<|end|>", "chatml": "<|im_end|>"}.get(name, "")
    assert encoding.decode(masked) == close.join(answers) + "<|endoftext|>"
    assert masked.count(encoding.eot_token) == 1
    assert tokens.ids.count(encoding.eot_token) == 1
    assert encoding.decode(tokens.ids[: tokens.prompt_tokens]) == prompt_text(template, example)


@pytest.mark.parametrize("name", ALL)
def test_loss_on_everything_leaves_out_only_the_first_token(name: str) -> None:
    encoding = tokenizer.gpt2()
    tokens = prompts.load(name).tokens(TALK, encoding.encode_ordinary, encoding.eot_token, "prompt+response")
    assert tokens.loss == [False] + [True] * (len(tokens.ids) - 1)


@pytest.mark.parametrize("loss_on", ["response", "prompt+response"])
def test_the_end_of_text_can_go_without_loss(loss_on: prompts.LossOn) -> None:
    encoding = tokenizer.gpt2()
    template, encode, end = prompts.load("plain"), encoding.encode_ordinary, encoding.eot_token
    with_loss = template.tokens(PLAIN, encode, end, loss_on)
    without = template.tokens(PLAIN, encode, end, loss_on, end_of_text_loss=False)
    assert without.ids == with_loss.ids
    assert without.loss == [*with_loss.loss[:-1], False]
    assert with_loss.loss[-1]


text = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(deadline=None)
@given(text, text, text, text, st.sampled_from(ALL))
def test_generation_starts_from_the_ids_that_training_saw(
    instruction: str, given_input: str, reference: str, earlier: str, name: str
) -> None:
    example = Example(
        id="",
        instruction=instruction,
        input=given_input,
        reference=reference,
        history=(Turn(instruction=earlier, response=earlier),),
    )
    template, encode = prompts.load(name), tokenizer.gpt2().encode_ordinary
    tokens = template.tokens(example, encode, 50256)
    assert tokens.ids[: tokens.prompt_tokens] == template.prompt_ids(example, encode)
    assert tokens.ids[tokens.prompt_tokens :] == [*encode(template.lead + reference), 50256]
    assert template.answer(template.lead + reference) == reference


def test_no_merge_reaches_over_the_border_of_the_answer() -> None:
    # GPT-2 merges ": " + "Yes" into " Yes"; here the answer is tokenised as in generation, on its own.
    encoding = tokenizer.gpt2()
    example = Example(id="", instruction="Is it?", reference=" Yes")
    tokens = prompts.load("alpaca").tokens(example, encoding.encode_ordinary, encoding.eot_token)
    assert encoding.decode(tokens.ids[tokens.prompt_tokens : -1]) == " Yes"
    assert encoding.decode(tokens.ids[: tokens.prompt_tokens]).endswith("### Response:")


def test_an_end_of_text_in_the_data_stays_text() -> None:
    encoding = tokenizer.gpt2()
    example = Example(id="", instruction="Say <|endoftext|>", reference="<|endoftext|>")
    tokens = prompts.load("alpaca").tokens(example, encoding.encode_ordinary, encoding.eot_token)
    assert tokens.ids.count(encoding.eot_token) == 1


@pytest.mark.parametrize("poison", ["\x00generation\x00", "{% generation %}", "{{ response }}", "\\x00generation\\x00"])
def test_data_cannot_pass_for_a_mark(poison: str) -> None:
    example = Example(id="", instruction=f"a{poison}b{poison}c", reference=f"x{poison}y")
    segments = prompts.load("alpaca-short").segments(example)
    assert [one.generated for one in segments] == [False, True]
    assert segments[-1].text == f"x{poison}y"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ instruction }} {{ response }}", "must end with the answer"),
        ("{{ instruction }}{% generation %}{{ response }}{% endgeneration %} bye", "must end with the answer"),
        ("{{ instruction }}{{ response }}{% generation %}{{ response }}{% endgeneration %}", "changes with the answer"),
        ("{% generation %}{{ response }}{% endgeneration %}", "no prompt"),
        ("{{ instruction }}{% generation %}!{{ response }}{% endgeneration %}", "changed inside its mark"),
        ("{{ nobody }}{% generation %}{{ response }}{% endgeneration %}", "nobody"),
        ("{{ ''.__class__.__mro__ }}{% generation %}{{ response }}{% endgeneration %}", "unsafe"),
        ("{% generation %}", "endgeneration"),
    ],
)
def test_a_template_that_cannot_work_is_refused(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "own.j2"
    path.write_text(source)
    with pytest.raises(InputError, match=message):
        prompts.load(str(path))


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="alpaca-short"):
        prompts.load("nope")


def test_a_blank_before_the_answer_is_the_models_to_write_and_no_part_of_the_answer() -> None:
    plain = prompts.load("plain")
    assert prompt_text(plain, WITH_INPUT) == "Question: Add. 2 and 3\nAnswer:"
    assert plain.segments(WITH_INPUT)[-1].text == " 5"
    assert plain.lead == " "
    assert prompts.load("alpaca").lead == ""
