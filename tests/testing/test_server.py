import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import anyio
import httpx
import pytest

from aeval.errors import ConfigurationError
from aeval.testing import Faults, Limit, Lognormal, ModelServer, VirtualClockLoop, solve_arithmetic

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualClockLoop}


def now():
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def client_of(server):
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
        yield client


def body(prompt="What is 17 + 25?", model="m", **fields):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


async def ask(server, prompt="What is 17 + 25?", route=CHAT, **fields):
    async with client_of(server) as client:
        return await client.post(route, json=body(prompt, **fields))


def said(response):
    return response.json()["choices"][0]["message"]["content"]


async def test_answers_one_text_to_all():
    """A string is the answer to every prompt, with the tokens it took."""
    response = await ask(ModelServer("forty-two"))
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "req_0"
    assert said(response) == "forty-two"
    assert response.json()["usage"]["prompt_tokens"] == 4
    assert response.json()["usage"]["completion_tokens"] == 3
    assert response.json()["usage"]["total_tokens"] == 7


async def test_answers_by_default():
    """A server made without arguments answers."""
    assert "simulated" in said(await ask(ModelServer()))


@pytest.mark.parametrize("script", [["a", "b"], iter(["a", "b"])], ids=["list", "iterator"])
async def test_scripted_answers_come_in_order_and_end(script):
    """Scripted answers are given in order; after the last, an error that no client retries says so."""
    server = ModelServer(script)
    assert [said(await ask(server)) for _ in range(2)] == ["a", "b"]
    response = await ask(server)
    assert response.status_code == 400
    assert "all of its 2 answers were given" in response.json()["error"]["message"]


async def test_answers_are_looked_up_by_prompt():
    """A mapping gives each prompt its answer, and an unknown prompt an error that shows it."""
    server = ModelServer({"ping": "pong"})
    assert said(await ask(server, "ping")) == "pong"
    response = await ask(server, "pang")
    assert response.status_code == 400
    assert "'pang'" in response.json()["error"]["message"]


async def test_answers_are_computed():
    """Sync and async callables see the request as it was sent, without the client's key."""
    seen = []

    def answer(request):
        seen.append(request)
        return "sync"

    async def answer_later(request):
        await asyncio.sleep(5)
        return f"async {request.model}"

    server = ModelServer(answer, answers={"slow": answer_later})
    async with client_of(server) as client:
        headers = {"Authorization": "Bearer secret", "X-Api-Key": "secret", "X-Trace": "7"}
        messages = [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "What "}, {"type": "image"}, {"text": "now?"}],
            },
            {"role": "assistant", "content": None},
        ]
        sent = {"model": "m", "messages": messages, "max_completion_tokens": 9, "temperature": 0.5}
        assert said(await client.post(CHAT, json=sent, headers=headers)) == "sync"
    (request,) = seen
    assert request.prompt == "What now?"
    assert (request.route, request.model, request.max_tokens, request.stream) == (CHAT, "m", 9, False)
    assert request.messages == tuple(messages)
    assert request.body["temperature"] == 0.5
    assert request.input_tokens == 6
    assert request.headers["x-trace"] == "7"
    assert "secret" not in str(dict(request.headers))
    before = now()
    assert said(await ask(server, model="slow")) == "async slow"
    assert now() == before + 5


async def test_failing_answer_is_a_server_error():
    """What an answer callable raises, or returns instead of a string, is answered as an error 500."""

    def fail(request):
        raise ZeroDivisionError("oops")

    response = await ask(ModelServer(fail))
    assert response.status_code == 500
    assert "ZeroDivisionError('oops')" in response.json()["error"]["message"]
    response = await ask(ModelServer(lambda request: 42))
    assert "return a string" in response.json()["error"]["message"]


async def test_each_model_has_its_answers():
    """Models have answers of their own; without a common answer, others do not exist."""
    server = ModelServer(answers={"a": "from a", "b": ["from b"]})
    assert said(await ask(server, model="a")) == "from a"
    assert said(await ask(server, model="b")) == "from b"
    response = await ask(server, model="c")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    async with client_of(server) as client:
        assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["a", "b"]
    async with client_of(ModelServer("x", answers={"a": "y"})) as client:
        assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["a", "simulated"]


async def test_answer_is_cut_at_max_tokens():
    """An answer longer than `max_tokens` is cut there and says so."""
    server = ModelServer("0123456789")
    choice = (await ask(server, max_tokens=2)).json()["choices"][0]
    assert choice["message"]["content"] == "01234567"
    assert choice["finish_reason"] == "length"
    message = (await ask(server, route=MESSAGES, max_tokens=2)).json()
    assert message["content"][0]["text"] == "01234567"
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "could not parse"),
        (b"\xff", "could not parse"),
        (b"[1]", "not a JSON object"),
        (b"{}", "model parameter"),
        (b'{"model": "m"}', "at least one message"),
        (b'{"model": "m", "messages": ["hi"]}', "at least one message"),
        (b'{"model": "m", "messages": [{}], "max_tokens": 0}', "max_tokens: 0"),
    ],
)
async def test_bad_requests_are_refused_in_each_shape(content, message):
    """A request that is not one is answered with status 400 in the provider's own shape."""
    async with client_of(ModelServer()) as client:
        response = await client.post(CHAT, content=content)
        assert response.status_code == 400
        error = response.json()["error"]
        assert message in error["message"]
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
        response = await client.post(MESSAGES, content=content)
        assert response.status_code == 400
        assert response.json()["type"] == "error"
        assert response.json()["error"]["type"] == "invalid_request_error"
        assert message in response.json()["error"]["message"]


async def test_prompt_is_empty_without_a_user():
    """A conversation without a user's message has an empty prompt."""
    server = ModelServer({"": "nobody asked"})
    async with client_of(server) as client:
        response = await client.post(
            CHAT, json={"model": "m", "messages": [{"role": "system", "content": "s"}]}
        )
    assert said(response) == "nobody asked"


async def test_unknown_routes_and_methods():
    """A path that the APIs do not have is a 404, a method that a path does not take a 405."""
    async with client_of(ModelServer()) as client:
        assert (await client.get("/v2/chat")).status_code == 404
        assert (await client.get(CHAT)).status_code == 405
        assert (await client.post("/v1/models")).status_code == 405


async def test_key_is_asked_for():
    """With a key, requests without it are answered with status 401; without one, none is asked for."""
    server = ModelServer("x", api_key="sk-right")
    async with client_of(server) as client:
        response = await client.post(CHAT, json=body())
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        response = await client.post(MESSAGES, json=body(), headers={"x-api-key": "sk-wrong"})
        assert response.json()["error"]["type"] == "authentication_error"
        assert (
            await client.post(CHAT, json=body(), headers={"Authorization": "Bearer sk-right"})
        ).status_code == 200
        assert (await client.post(MESSAGES, json=body(), headers={"x-api-key": "sk-right"})).status_code == 200
    assert "sk-right" not in repr(server) + repr(server.requests)


async def test_requests_over_the_limit_are_refused():
    """Over the limit a call gets 429 with the wait in its headers; after that wait it is answered."""
    server = ModelServer("x", requests=Limit(2, per=60))
    before = now()
    first, second, third = [await ask(server) for _ in range(3)]
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert [each.headers["x-ratelimit-remaining-requests"] for each in (first, second, third)] == [
        "1",
        "0",
        "0",
    ]
    assert first.headers["x-ratelimit-reset-requests"] == "1m0s"
    assert third.headers["retry-after"] == "60"
    assert third.headers["retry-after-ms"] == "60000"
    error = third.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "Limit 2 per 60s" in error["message"]
    await asyncio.sleep(59.5)
    assert (await ask(server)).headers["retry-after"] == "1"
    await asyncio.sleep(before + 60 - now())
    assert (await ask(server)).status_code == 200
    assert [request.number for request in server.refused] == [2, 3]
    assert server.stats.refused == 2


async def test_refused_calls_use_nothing():
    """A call that one limit refuses uses nothing of the other, no scripted answer, and no fault."""
    server = ModelServer(
        ["a", "b"], requests=Limit(3, per=60), tokens=Limit(25, per=60), faults=[None, None, "500"]
    )
    assert (await ask(server, max_tokens=16)).status_code == 200
    refused = await ask(server, max_tokens=16)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "5"
    assert refused.headers["x-ratelimit-remaining-requests"] == "2"
    assert said(await ask(server, max_tokens=1)) == "b"
    assert [request.charged_tokens for request in server.requests] == [20, 0, 5]


async def test_call_larger_than_the_limit_is_told_no_time():
    """A call that can never be admitted is refused without a time to come again."""
    response = await ask(ModelServer("x", tokens=Limit(10)), max_tokens=100)
    assert response.status_code == 429
    assert "retry-after" not in response.headers


async def test_anthropic_limits_have_their_own_headers():
    """Anthropic's route tells its limits by times of day."""
    server = ModelServer("x", requests=Limit(1, per=60), tokens=Limit(1000, per=60))
    await ask(server, route=MESSAGES, max_tokens=96)
    response = await ask(server, route=MESSAGES, max_tokens=96)
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert response.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert response.headers["anthropic-ratelimit-tokens-remaining"] == "900"
    reset = datetime.fromisoformat(response.headers["anthropic-ratelimit-requests-reset"])
    assert abs(reset - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=30)


async def test_retry_after_may_be_a_date_or_missing():
    """The wait can be told as an HTTP date or not at all, and the limits' headers be left out."""
    server = ModelServer("x", requests=Limit(1, per=600), retry_after="date", headers=False)
    await ask(server)
    response = await ask(server)
    told = parsedate_to_datetime(response.headers["retry-after"])
    assert abs(told - datetime.now(UTC) - timedelta(seconds=600)) < timedelta(seconds=60)
    assert not [name for name in response.headers if "ratelimit" in name or name == "retry-after-ms"]
    server = ModelServer("x", requests=Limit(1, per=600), retry_after=None)
    await ask(server)
    assert "retry-after" not in (await ask(server)).headers


async def test_calls_in_flight_are_limited():
    """Calls beyond `in_flight` at one time are refused, and the record tells how many there were."""
    server = ModelServer("x", latency=1.0, in_flight=3)
    responses = await asyncio.gather(*(ask(server) for _ in range(5)))
    assert sorted(response.status_code for response in responses) == [200, 200, 200, 429, 429]
    assert [request.in_flight_at_start for request in server.requests] == [1, 2, 3, 4, 4]
    assert server.max_in_flight == 3
    assert (await ask(server)).status_code == 200


async def test_capacity_makes_calls_queue():
    """Beyond the capacity calls are not refused but take longer, first come first served."""
    server = ModelServer(solve_arithmetic, latency=1.0, concurrency=2)
    before = now()
    ended = []

    async def call(number):
        assert said(await ask(server, f"{number} + 0")) == str(number)
        ended.append((number, now() - before))

    await asyncio.gather(*(call(number) for number in range(6)))
    assert ended == [(number, 1.0 + number // 2) for number in range(6)]
    assert server.max_in_flight == 6
    assert not server.refused


async def test_queued_client_that_gives_up_leaves_the_queue():
    """Calls whose clients are gone take no slot, whether they wait in the queue or hold one."""
    server = ModelServer("x", latency=10.0, concurrency=1)
    before = now()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, server)
        await anyio.sleep(1)
        with anyio.move_on_after(2):
            await ask(server)
        assert (await ask(server)).status_code == 200
        assert now() == before + 20
    with anyio.move_on_after(2):
        await ask(server)
    assert (await ask(server)).status_code == 200
    assert now() == before + 32
    assert [request.status for request in server.requests] == [200, None, 200, None, 200]
    assert server.stats.abandoned == 2
    assert server.stats.in_flight == 0


async def test_turn_that_came_too_late_goes_to_the_next():
    """A call that is cancelled at the moment its turn comes hands the slot on."""
    server = ModelServer("x", latency=10.0, concurrency=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, server)
        await anyio.sleep(1)
        second = asyncio.create_task(ask(server))
        await anyio.sleep(1)
        third = asyncio.create_task(ask(server))
        await anyio.sleep(1)
        first_answer = server._slots.release
        server._slots.release = lambda: (first_answer(), second.cancel())
        response = await third
        assert response.status_code == 200
        with pytest.raises(asyncio.CancelledError):
            await second


async def test_latencies_are_reproduced_by_the_seed():
    """The same seed brings the same latencies and faults, another one others."""

    async def durations(seed):
        server = ModelServer("x", latency=Lognormal(1.0), faults=Faults(server_error=0.3), seed=seed)
        for _ in range(20):
            await ask(server)
        return [(round(request.duration, 9), request.status) for request in server.requests]

    first = await durations(1)
    assert first == await durations(1)
    assert first != await durations(2)
    assert {status for _, status in first} == {200, 500}


@pytest.mark.parametrize(
    ("fault", "openai_status", "openai_type", "anthropic_status", "anthropic_type"),
    [
        ("500", 500, "server_error", 500, "api_error"),
        ("overloaded", 503, "server_error", 529, "overloaded_error"),
        (408, 408, "invalid_request_error", 408, "invalid_request_error"),
        (599, 599, "server_error", 599, "api_error"),
    ],
)
async def test_errors_have_each_providers_shape(
    fault, openai_status, openai_type, anthropic_status, anthropic_type
):
    """An injected error has the status and the shape that the provider gives it."""
    server = ModelServer(["fine"], faults=[fault, fault])
    response = await ask(server)
    assert response.status_code == openai_status
    assert response.json()["error"]["type"] == openai_type
    response = await ask(server, route=MESSAGES, max_tokens=5)
    assert response.status_code == anthropic_status
    assert response.json()["error"]["type"] == anthropic_type
    assert said(await ask(server)) == "fine", "a call that went wrong used up no scripted answer"
    assert [request.fault for request in server.requests] == [str(fault), str(fault), None]
    assert server.stats.faults == 2
    assert server.stats.answered == 1


async def test_malformed_answers():
    """A malformed answer is half a document or a page of HTML, with status 200."""
    server = ModelServer("fine", faults=["malformed", "malformed", "html"])
    for fields in ({}, {"stream": True}):
        response = await ask(server, **fields)
        assert response.status_code == 200
        assert response.text.startswith('{"id"')
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            response.json()
    response = await ask(server)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html"


@pytest.mark.parametrize("fault", ["drop", "disconnect"])
async def test_dropped_connections_in_process(fault):
    """Without a socket a dropped connection is a connection error that the app raises."""
    server = ModelServer("fine", faults=[fault])
    with pytest.raises(ConnectionResetError, match="simulated server"):
        await ask(server)
    assert said(await ask(server)) == "fine"
    assert [request.fault for request in server.requests] == [fault, None]
    assert server.stats.abandoned == 0


async def test_stalled_calls_wait_for_the_client():
    """A stalled call is never answered, and ends when the client gives up."""
    server = ModelServer("fine", faults=["stall"])
    with anyio.move_on_after(3600) as scope:
        await ask(server)
    assert scope.cancelled_caught
    (request,) = server.requests
    assert (request.status, request.fault, request.duration) == (None, "stall", 3600.0)


async def test_streams_come_as_events():
    """A streamed answer comes word by word, with its usage where that was asked for."""
    server = ModelServer("one two three")
    response = await ask(server, stream=True, stream_options={"include_usage": True})
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert '"total_tokens":8' in events[-2]
    assert sum('"content":" t' in event for event in events) == 2


async def test_record_tells_what_was_asked():
    """The record holds each request's times, model, prompt, status and tokens."""
    server = ModelServer("x", latency=2.0)
    before = now()
    await ask(server, "Hello?", model="gpt")
    async with client_of(server) as client:
        await client.get("/v1/models")
        stats = (await client.get("/stats")).json()
    call, listing, _ = server.requests
    assert (call.started, call.ended, call.duration) == (before, before + 2, 2.0)
    assert (call.route, call.model, call.prompt, call.status) == (CHAT, "gpt", "Hello?", 200)
    assert (call.input_tokens, call.output_tokens, call.charged_tokens) == (2, 1, 0)
    assert call.admitted
    assert not listing.admitted
    assert listing.in_flight_at_start == 0
    assert stats == {
        "received": 3,
        "answered": 1,
        "refused": 0,
        "faults": 0,
        "abandoned": 0,
        "in_flight": 0,
        "max_in_flight": 1,
    }


async def test_record_is_bounded():
    """Only the last requests are remembered; the counts go on."""
    server = ModelServer("x", keep=3)
    for number in range(10):
        await ask(server, str(number))
    assert [request.prompt for request in server.requests] == ["7", "8", "9"]
    assert server.stats.received == 10


async def test_calls_in_flight_over_time():
    """The number of calls in flight is told for any moment, and its mean for any stretch of time."""
    server = ModelServer("x", latency=10.0)
    assert server.mean_in_flight() == 0.0
    assert server.in_flight_over_time() == []
    begin = now()

    async def call_at(moment):
        await asyncio.sleep(moment)
        await ask(server)

    async with anyio.create_task_group() as tasks:
        for moment in (0, 5, 5):
            tasks.start_soon(call_at, moment)
        await anyio.sleep(8)
        assert server.mean_in_flight(begin, begin + 8) == pytest.approx((8 + 3 + 3) / 8)
        assert server.in_flight_over_time()[-2] == (begin + 5, 3)
    assert server.in_flight_over_time() == [(begin, 1), (begin + 5, 3), (begin + 10, 2), (begin + 15, 0)]
    assert server.mean_in_flight() == pytest.approx(2.0)
    assert server.mean_in_flight(begin + 5, begin + 10) == pytest.approx(3.0)
    assert server.mean_in_flight(begin + 5, begin + 5) == 0.0


async def test_request_cut_off_in_its_body_is_ignored():
    """A client that goes away while it sends its request leaves nothing behind."""
    server = ModelServer()
    messages = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive():
        return next(messages)

    async def send(message):
        raise AssertionError(message)

    await server({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
    assert server.stats.received == 0


async def test_client_that_goes_quietly_is_noticed():
    """A client that disconnects ends its call, in the queue, in the latency and in a stall."""
    server = ModelServer("x", latency=10.0, concurrency=1, faults=[None, None, "stall"])
    before = now()
    payload = httpx.Request("POST", "http://m", json=body()).content

    async def call(leave_after):
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(leave_after, gone.set)
        messages = itertools.chain(
            [{"type": "http.request", "body": payload[:9], "more_body": True}],
            [{"type": "http.request", "body": payload[9:]}, {"type": "http.request", "body": b""}],
        )

        async def receive():
            for message in messages:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            raise AssertionError(message)

        await server({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
        return now() - before

    assert await asyncio.gather(call(4), call(3), call(6)) == [4.0, 3.0, 6.0]
    assert [request.status for request in server.requests] == [None, None, None]


async def test_speaks_http_only():
    """A scope that is not HTTP is an error that says so."""
    with pytest.raises(ConfigurationError, match="HTTP only, not 'lifespan'"):
        await ModelServer()({"type": "lifespan"}, None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concurrency": 0}, "concurrency=0 must be 1 or more"),
        ({"in_flight": 0}, "in_flight=0 must be 1 or more"),
        ({"keep": -1}, "keep=-1"),
        ({"retry_after": "tomorrow"}, "'tomorrow' is unknown: use 'seconds'"),
        ({"answer": 42}, "the answer is 42: use a string"),
        ({"latency": -1}, "latency must be 0 seconds or more"),
    ],
)
async def test_impossible_arguments_are_refused(arguments, message):
    """An argument that cannot work is an error when the server is made."""
    with pytest.raises(ConfigurationError, match=message):
        ModelServer(**arguments)
