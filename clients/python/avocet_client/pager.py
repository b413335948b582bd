"""Iterators over the items of a paged method, sync and async: they follow the page tokens to the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from avocet_client.calls import Call

Item = TypeVar("Item")
Page = TypeVar("Page")


class _Pager(Generic[Item, Page]):
    """What both pagers share: the call of the next page, and where a page has its items."""

    def __init__(self, call: Call[Page], carry_out: Callable[[Call[Page]], Any], items: str) -> None:
        self._call = call
        self._carry_out = carry_out
        self._items = items
        self._ended = False
        self._pending: Iterator[Item] = iter(())

    def _turn(self, page: Any) -> None:
        """Make the next call the one of the page behind this one."""
        request = type(self._call.request)()
        request.CopyFrom(self._call.request)
        request.page_token = page.next_page_token
        self._call, self._ended = replace(self._call, request=request), not page.next_page_token


class Pager(_Pager[Item, Page], Iterator[Item]):
    """Iterates over the items of all pages, each page read when it is needed.

    After an error the next item is asked for again, at the same page. Not for two threads at once.
    """

    def pages(self) -> Iterator[Page]:
        """Iterate over the pages that were not read yet, empty ones included."""
        while not self._ended:
            yield self._read()

    def __next__(self) -> Item:
        while True:
            for item in self._pending:
                return item
            if self._ended:
                raise StopIteration
            self._pending = iter(getattr(self._read(), self._items))

    def _read(self) -> Page:
        page: Page = self._carry_out(self._call)
        self._turn(page)
        return page


class AsyncPager(_Pager[Item, Page], AsyncIterator[Item]):
    """`Pager` for asyncio: `async for item in pager`, or `async for page in pager.pages()`."""

    async def pages(self) -> AsyncIterator[Page]:
        """Iterate over the pages that were not read yet, empty ones included."""
        while not self._ended:
            yield await self._read()

    async def __anext__(self) -> Item:
        while True:
            for item in self._pending:
                return item
            if self._ended:
                raise StopAsyncIteration
            self._pending = iter(getattr(await self._read(), self._items))

    async def _read(self) -> Page:
        page: Page = await self._carry_out(self._call)
        self._turn(page)
        return page
