"""Drives the stand-in API with the official client.

Usage: python openai_client.py URL NAME=URL ...

The first server takes the key "test-key-right-0000" alone, knows the model "gpt-4o-mini" alone, and allows 10,000 tokens in a
minute. Each further server has one fault always, and is named after it; "limited" allows one request in an hour. tests/conformance.rs
starts them all. Each check prints one line, the last line sums up, and the exit code is 1 if any failed.
"""

import sys
import traceback

import openai
from openai import OpenAI

KEY = "test-key-right-0000"
MODEL = "gpt-4o-mini"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def client(url, key=KEY):
    return OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20, _strict_response_validation=True)


def raises(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__} in place of {kind.__name__}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def chat(url, key=KEY, model=MODEL, text="Name three rivers.", **more):
    return client(url, key).chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


@check
def chat_is_answered(urls):
    answer = chat(urls["plain"])
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-"), answer
    assert answer.model == MODEL and answer.created > 1_700_000_000
    assert choice.finish_reason == "stop" and choice.message.role == "assistant"
    assert "“Name three rivers.”" in choice.message.content, choice.message.content
    assert choice.message.refusal is None


@check
def the_same_prompt_has_the_same_answer(urls):
    texts = [chat(urls["plain"], text=text).choices[0].message.content for text in ("a", "a", "b")]
    assert texts[0] == texts[1] != texts[2], texts


@check
def chat_usage_adds_up(urls):
    usage = chat(urls["plain"]).usage
    # 3 for the message, 1 for its role, 4 for its text, 3 for the reply.
    assert usage.prompt_tokens == 11, usage
    assert usage.completion_tokens > 10
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == 0
    assert usage.completion_tokens_details.reasoning_tokens == 0


@check
def chat_parts_and_choices(urls):
    parts = [{"type": "text", "text": "Name three "}, {"type": "text", "text": "rivers."}]
    answer = client(urls["plain"]).chat.completions.create(
        model=MODEL, n=2, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content == chat(urls["plain"]).choices[0].message.content


@check
def chat_is_truncated(urls):
    for name in ("max_tokens", "max_completion_tokens"):
        answer = chat(urls["plain"], **{name: 5})
        assert answer.choices[0].finish_reason == "length", answer
        assert 1 <= answer.usage.completion_tokens <= 5, answer.usage


@check
def response_is_answered(urls):
    answer = client(urls["plain"]).responses.create(model=MODEL, input="Name three rivers.", store=False)
    assert answer.object == "response" and answer.id.startswith("resp_"), answer
    assert answer.status == "completed" and answer.error is None and answer.incomplete_details is None
    assert answer.output_text == chat(urls["plain"]).choices[0].message.content
    assert answer.to_dict()["store"] is False
    assert answer.usage.input_tokens == 11 and answer.usage.input_tokens_details.cached_tokens == 0
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


@check
def response_is_truncated(urls):
    answer = client(urls["plain"]).responses.create(
        model=MODEL, instructions="Be brief.", input=[{"role": "user", "content": "Hello"}], max_output_tokens=16
    )
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens", answer
    assert 1 <= answer.usage.output_tokens <= 16


@check
def input_tokens_are_counted(urls):
    count = client(urls["plain"]).responses.input_tokens.count(model=MODEL, input="Name three rivers.")
    assert count.object == "response.input_tokens" and count.input_tokens == 11, count


@check
def models_are_listed(urls):
    models = list(client(urls["plain"]).models.list())
    assert [model.id for model in models] == [MODEL] and models[0].object == "model", models


@check
def headers_are_readable(urls):
    raw = client(urls["plain"]).chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}]
    )
    headers = raw.headers
    assert len(raw.request_id) == 36 and raw.request_id.startswith("req_"), raw.request_id
    assert headers["openai-version"] == "2020-10-01" and int(headers["openai-processing-ms"]) >= 0
    assert headers["x-ratelimit-limit-tokens"] == "10000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 10000
    assert headers["x-ratelimit-reset-tokens"].endswith("s")


@check
def wrong_key_is_401(urls):
    error = raises(openai.AuthenticationError, lambda: chat(urls["plain"], key="test-key-wrong-9999"))
    assert error.status_code == 401 and error.code == "invalid_api_key", error
    assert error.response.headers["content-type"] == "text/plain"
    assert "test-key*******9999" in error.message, error.message


@check
def unknown_model_is_404(urls):
    error = raises(openai.NotFoundError, lambda: chat(urls["plain"], model="gpt-none"))
    assert error.status_code == 404 and error.code == "model_not_found" and error.type == "invalid_request_error"
    error = raises(openai.NotFoundError, lambda: client(urls["plain"]).files.list())
    assert "Invalid URL (GET /v1/files)" in error.message, error.message


@check
def bad_requests_are_400(urls):
    error = raises(openai.BadRequestError, lambda: client(urls["plain"]).chat.completions.create(model=MODEL, messages=[]))
    assert error.param == "messages" and error.code == "empty_array", error
    error = raises(
        openai.BadRequestError,
        lambda: client(urls["plain"]).responses.create(model=MODEL, input="Hi", max_output_tokens=15),
    )
    assert error.param == "max_output_tokens" and error.code == "integer_below_min_value", error
    error = raises(openai.BadRequestError, lambda: chat(urls["plain"], stream=True))
    assert error.param == "stream", error


@check
def too_large_is_429_without_a_wait(urls):
    error = raises(openai.RateLimitError, lambda: chat(urls["plain"], max_tokens=20_000))
    assert "Request too large" in error.message and "retry-after" not in error.response.headers, error
    assert error.type == "tokens" and error.code == "rate_limit_exceeded"


@check
def over_the_limit_is_429_with_a_wait(urls):
    # The server allows one request in an hour.
    chat(urls["limited"])
    error = raises(openai.RateLimitError, lambda: chat(urls["limited"]))
    assert error.type == "requests" and error.code == "rate_limit_exceeded", error
    assert "on requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in 1h0m0s." in error.message
    assert int(error.response.headers["retry-after"]) == 3600


@check
def quota_is_429_without_a_wait(urls):
    error = raises(openai.RateLimitError, lambda: chat(urls["quota"]))
    assert error.type == "insufficient_quota" and error.code == "credit_balance_exhausted", error
    assert "retry-after" not in error.response.headers


@check
def server_error_is_500(urls):
    for call in (
        lambda: chat(urls["server-error"]),
        lambda: client(urls["server-error"]).responses.create(model=MODEL, input="Hi"),
    ):
        error = raises(openai.InternalServerError, call)
        assert error.status_code == 500 and error.type == "server_error" and error.code is None, error
        assert error.request_id in error.message


@check
def overloaded_is_503_and_bad_gateway_is_html(urls):
    error = raises(openai.InternalServerError, lambda: chat(urls["overloaded"]))
    assert error.status_code == 503 and error.code == "server_is_overloaded"
    error = raises(openai.InternalServerError, lambda: chat(urls["bad-gateway"]))
    assert error.status_code == 502 and error.response.text.startswith("<!DOCTYPE html>")


@check
def connections_break(urls):
    for name in ("reset", "cut-body"):
        raises(openai.APIConnectionError, lambda: chat(urls[name]))


@check
def spoilt_answers_are_seen(urls):
    refused = chat(urls["refusal"]).choices[0]
    assert refused.message.content is None and refused.message.refusal and refused.finish_reason == "stop"
    assert chat(urls["truncated"]).choices[0].finish_reason == "length"
    assert chat(urls["filtered"]).choices[0].finish_reason == "content_filter"
    assert chat(urls["empty"]).choices[0].message.content == ""
    refused = client(urls["refusal"]).responses.create(model=MODEL, input="Hi")
    assert refused.output[0].content[0].type == "refusal" and refused.status == "completed"
    filtered = client(urls["filtered"]).responses.create(model=MODEL, input="Hi")
    assert filtered.status == "incomplete" and filtered.incomplete_details.reason == "content_filter"


def main():
    urls = {"plain": sys.argv[1]} | dict(argument.split("=", 1) for argument in sys.argv[2:])
    failed = 0
    for function in CHECKS:
        try:
            function(urls)
            print(f"ok      {function.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED  {function.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"openai {openai.__version__}: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
