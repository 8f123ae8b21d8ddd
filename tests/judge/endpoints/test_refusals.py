"""What a refusal means, in the words of many servers."""

from __future__ import annotations

import json

import pytest

from judge.endpoints.refusals import error_within, read_refusal

CONTEXT = "This model's maximum context length is 8192 tokens"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # too long
        (400, {"error": {"message": f"{CONTEXT}. However, your messages resulted in 9000 tokens."}}, "too-long"),
        (400, {"object": "error", "message": f"'max_tokens' is too large: 300. {CONTEXT} (300 > 1)"}, "too-long"),
        (400, {"error": {"type": "exceed_context_size_error", "message": "exceeds the available size"}}, "too-long"),
        (500, {"error": {"message": "Requested tokens (9120) exceed context window of 8192"}}, "too-long"),
        (422, {"error": "Input error: `inputs` must have less than 1 tokens", "error_type": "v"}, "too-long"),
        (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}, "too-long"),
        (400, {"error": "prompt too long; exceeded max context length by 7 tokens"}, "too-long"),
        (413, "<html>413 Request Entity Too Large</html>", "too-long"),
        (429, {"error": {"message": "Request too large for m on tokens per min (TPM): Limit 6000"}}, "too-long"),
        (400, {"error": {"message": "Input token count (12) exceeds the maximum number of tokens"}}, "too-long"),
        # filtered
        (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}, "filtered"),
        (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}, "filtered"),
        (403, {"error": {"message": 'requires moderation, and your input was flagged', "code": 403}}, "filtered"),
        (400, {"error": {"message": "<400> data may contain inappropriate content", "code": "data_inspection_failed"}},
         "filtered"),
        (400, {"error": {"message": "Invalid prompt: flagged", "code": "invalid_prompt"}}, "filtered"),
        # the account
        (402, {"error": {"message": "Insufficient Balance"}}, "credit"),
        (429, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}, "credit"),
        (429, {"error": {"message": "Your account is suspended", "type": "exceeded_current_quota_error"}}, "credit"),
        (400, {"error": {"message": "Your credit balance is too low to access the API."}}, "credit"),
        (403, {"error": {"message": "Key limit exceeded (total limit)."}}, "credit"),
        (429, {"error": {"code": "1113", "message": "您的账户已欠费,请充值后重试"}}, "credit"),
        # a pause, though it speaks of quotas and billing
        (429, {"error": {"message": "Rate limit reached. Try again in 6ms. Add a payment method in billing"}}, "wait"),
        (429, [{"error": {"message": "You exceeded your current quota, check your plan and billing details",
                          "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "34s"}]}}], "wait"),
        (429, "slow down", "wait"),
        # the key, the model, the form, the server
        (401, {"error": {"message": "no"}}, "key"),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], "key"),
        (403, {"message": "Invalid API key"}, "key"),
        (403, "<html>Sorry, you have been blocked</html>", "forbidden"),
        (404, {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}, "missing"),
        (404, "404 page not found", "missing"),
        (400, {"error": {"message": "max_tokens is too large: 300. This model supports at most 150 completion tokens"}},
         "form"),
        (422, {"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}, "form"),
        (400, {"detail": "Bad request"}, "form"),
        (400, {"error": {"message": "the prompt exceeds the token limit of this model"}}, "too-long"),
        (400, {"error": {"message": "Your request was blocked by our hate speech policy."}}, "filtered"),
        (400, {"error": {"message": "Request blocked: jailbreak attempt detected"}}, "filtered"),
        (451, {"error": {"message": "unavailable for legal reasons"}}, "filtered"),
        (403, {"error": {"message": "Your account balance is insufficient"}}, "credit"),
        (429, {"error": {"message": "Your account org-1 has exhausted its balance"}}, "credit"),
        (403, {"error": {"message": "Prepaid credits depleted. Please add funds to continue."}}, "credit"),
        (400, {"error": {"message": "Access denied: see to your account.", "code": "Arrearage"}}, "credit"),
        (403, {"error": {"message": "Free tier of the model has been exhausted."}}, "credit"),
        (400, {"error": {"message": "Budget has been exceeded! Max budget: 10", "type": "budget_exceeded"}}, "credit"),
        (429, {"error": {"message": "Resource has been exhausted (e.g. check quota).", "code": 429}}, "wait"),
        (403, {"error": {"message": "Forbidden: your token has expired"}}, "key"),
        (400, {"error": {"message": "gpt-9 is not a valid model ID", "code": 400}}, "missing"),
        (400, {"error": {"message": "Model Not Exist"}}, "missing"),
        (500, {"error": {"message": "boom"}}, "server"),
        (503, "", "server"),
    ],
)  # fmt: skip
def test_every_wording_is_understood(status: int, body: object, kind: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert read_refusal(status, {}, text).kind == kind


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "[1]", '"no"', '{"error": 3}', '{"error": {"message": [1]}}', "[" * 9999]
)
def test_no_body_breaks_the_reader(text: str) -> None:
    assert read_refusal(400, {}, text).status == 400


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"error": {"message": "Provider returned error", "code": 502}}, 502),
        ({"error": {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits", "code": 429}}, 429),
        ({"error": {"message": "Rate limit exceeded"}}, 429),
        ({"error": "upstream overloaded"}, 502),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "idle"}}]}, 502),
        ({"choices": [{"message": {}}], "error": None}, None),
        ([], None),
    ],
)
def test_an_error_within_a_200_is_that_error(document: object, status: int | None) -> None:
    refusal = error_within(document, {})
    assert (refusal.status if refusal else None) == status
    if status == 429:
        assert refusal is not None
        assert refusal.kind == "wait"
