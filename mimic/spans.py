"""Work that may be traced, for code that does not know by what."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class Spans(Protocol):
    """What traces."""

    async def within(self, name: str, work: Awaitable[T]) -> T:
        """Await something in a span of that name."""


class Spanned(Protocol):
    """What knows whether it is traced."""

    @property
    def spans(self) -> Spans | None:
        """What traces, if anything does."""


S = TypeVar("S", bound=Spanned)


def spanned(
    name: str,
) -> Callable[[Callable[Concatenate[S, P], Coroutine[Any, Any, T]]], Callable[Concatenate[S, P], Awaitable[T]]]:
    """Work on something in a span, where that is traced. Where it is not, this costs one look."""

    def decorate(
        work: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
    ) -> Callable[Concatenate[S, P], Awaitable[T]]:
        @wraps(work)
        def traced(on: S, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            running = work(on, *args, **kwargs)
            return running if on.spans is None else on.spans.within(name, running)

        return traced

    return decorate
