"""A bare loop over chat completions, as a lower bound of what asking costs: bare.py CLIENT URL N CONCURRENCY.

CLIENT: openai (the client as it comes), openai-aiohttp (with its aiohttp transport), aiohttp (no client at all).
Nothing is checked, retried or kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

Ask = Callable[[list[dict[str, str]]], Awaitable[str]]


async def main(client: str, url: str, prompts: Path, concurrency: int) -> None:
    """Ask all prompts of a JSON Lines file, so many at a time."""
    queue = iter(prompts.read_text(encoding="utf-8").splitlines())

    async def worker(ask: Ask) -> None:
        for line in queue:
            json.loads(await ask(json.loads(line)))

    async def everyone(ask: Ask) -> None:
        await asyncio.gather(*(worker(ask) for _ in range(concurrency)))

    if client == "aiohttp":
        import aiohttp

        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask_plainly(messages: list[dict[str, str]]) -> str:
                body = {"model": "simulated", "messages": messages}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    return (await response.json())["choices"][0]["message"]["content"]

            await everyone(ask_plainly)
        return
    from openai import AsyncOpenAI, DefaultAioHttpClient

    transport = DefaultAioHttpClient() if client == "openai-aiohttp" else None
    async with AsyncOpenAI(base_url=url, api_key="none", http_client=transport) as api:

        async def ask(messages: list[dict[str, str]]) -> str:
            answer = await api.chat.completions.create(model="simulated", messages=messages)  # pyright: ignore
            return answer.choices[0].message.content or ""

        await everyone(ask)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
