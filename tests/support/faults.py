"""Faults on the way to a server and back, each of which can prove that it happened.

They do the same to all four kinds of calls: with one request or a stream, one response or a stream.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

LOST_REQUEST = "lost request"  # the call never ran
LOST_REPLY = "lost reply"  # the call ran, and its caller does not know
CUT_REPLY = "cut reply"  # the call ran, and of a stream of responses only the first arrives


class FailNth(grpc.ServerInterceptor):
    """Fail one call to a server, the n-th counted from 1, with UNAVAILABLE; all others pass.

    A test raises n until `fired` stays False: then every call has been lost once. A test that never
    looks at `fired` has proved nothing, for its fault may not have happened.
    """

    def __init__(self, n: int, kind: str) -> None:
        """Fail call n in the way of LOST_REQUEST, LOST_REPLY or CUT_REPLY."""
        if n < 1 or kind not in _KINDS:
            raise ValueError(f"n={n}, kind={kind!r}: calls count from 1; kinds are {_KINDS}")
        self.n = n
        self.kind = kind
        self.fired = False
        self._calls = itertools.count(1)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let the call pass, or replace what it would run."""
        handler = continuation(handler_call_details)
        if next(self._calls) != self.n:
            return handler
        self.fired = True

        def lose(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if self.kind != LOST_REQUEST:
                responses = _run(handler, request, context)
                if self.kind == CUT_REPLY and handler.response_streaming:
                    yield responses[0]
            context.abort(grpc.StatusCode.UNAVAILABLE, f"{self.kind} (injected)")

        return _replaced(handler, lose)


class AbortAll(grpc.ServerInterceptor):
    """End every call to a shard with one status before it runs, and count them in `num_calls`.

    Health checks pass, and are not counted.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        """Answer with this code and text."""
        self.num_calls = 0
        self._code = code
        self._details = details

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Replace what the call would run."""
        if handler_call_details.method.startswith("/grpc.health."):
            return continuation(handler_call_details)
        self.num_calls += 1  # gRPC asks interceptors in one thread

        def abort(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            context.abort(self._code, self._details)
            yield from ()

        return _replaced(continuation(handler_call_details), abort)


class HoldReplies(grpc.ServerInterceptor):
    """Hold back the replies of the first calls to one method until the ``with`` block ends.

    The calls have run, and each holds its worker thread. `num_held` counts those that wait; the
    block must end before the server is closed.
    """

    def __init__(self, method: str, num_calls: int) -> None:
        """Hold the replies of the first num_calls calls to the method, named without its path."""
        self._method = method
        self._lock = threading.Lock()
        self._num_to_hold = num_calls
        self._num_held = 0
        self._released = threading.Event()

    @property
    def num_held(self) -> int:
        """How many replies have been held so far."""
        with self._lock:
            return self._num_held

    def release(self) -> None:
        """Let all replies go, now and from now on."""
        self._released.set()

    def __enter__(self) -> HoldReplies:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let the call pass, or make it wait after it has run."""
        handler = continuation(handler_call_details)
        if handler_call_details.method.rpartition("/")[2] != self._method or self._num_to_hold == 0:
            return handler
        self._num_to_hold -= 1  # gRPC asks interceptors in one thread

        def hold(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            responses = _run(handler, request, context)
            with self._lock:
                self._num_held += 1
            assert self._released.wait(timeout=60), "the test never let its replies go"
            yield from responses

        return _replaced(handler, hold)


_KINDS = (LOST_REQUEST, LOST_REPLY, CUT_REPLY)

# By whether requests come in a stream, and whether responses go in one.
_NAMES = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


def _run(handler: Any, request: Any, context: grpc.ServicerContext) -> list[Any]:
    """Run the call to its end, and give all of its responses."""
    name = _NAMES[handler.request_streaming, handler.response_streaming]
    answered = getattr(handler, name)(request, context)
    return list(answered) if handler.response_streaming else [answered]


def _replaced(
    handler: Any, respond: Callable[[Any, grpc.ServicerContext], Iterator[Any]]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Give a handler of the same kind whose responses are these."""
    name = _NAMES[handler.request_streaming, handler.response_streaming]
    make = getattr(grpc, f"{name}_rpc_method_handler")

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        return next(respond(request, context))

    made: grpc.RpcMethodHandler[Any, Any] = make(
        respond if handler.response_streaming else call,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return made
