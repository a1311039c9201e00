"""Who wants a source to look now, and waits until it has looked."""

import asyncio


class Wishes:
    """Counts wishes. One that comes while a look is under way is fulfilled by the next one."""

    def __init__(self, woken: asyncio.Event) -> None:
        """`woken` is set when there is a wish."""
        self._woken = woken
        self.asked = 0
        self.answered = 0
        self._progress = asyncio.Condition()

    async def wish(self) -> None:
        """Returns when a look that began after this call has come to its end."""
        self.asked += 1
        mine = self.asked
        self._woken.set()
        async with self._progress:
            await self._progress.wait_for(lambda: self.answered >= mine)

    async def fulfil(self, asked: int) -> None:
        """A look that began when so many had been asked has come to its end."""
        self.answered = asked
        async with self._progress:
            self._progress.notify_all()
