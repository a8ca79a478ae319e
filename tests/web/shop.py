"""A pipeline as a user writes it, for the tests of its pages: a few steps, a map, a step that fails, a question."""

from __future__ import annotations

import time

import tidemill as tm


@tm.step
def orders(count: int) -> list[int]:
    print(f"read {count} <orders>")
    return list(range(count))


@tm.step
def taxed(order: int, rate: float = 0.2) -> float:
    return order * (1 + rate)


@tm.step
def rates(day: str) -> float:
    time.sleep(0.05)
    return len(day) / 10


@tm.step
def total(amounts: list[float], rate: float) -> float:
    time.sleep(0.02)
    return sum(amounts) * rate


@tm.step(retries=1, backoff="1ms")
def invoice(amount: float, wrong: str) -> str:
    print("about to write the invoice")
    if wrong:
        raise ValueError(f"no good: {wrong}")
    return f"{amount:.2f}"


@tm.step
def sent(text: str) -> int:
    return len(text)


@tm.step(cache=False)
def slowly(pause_s: float) -> float:
    for _ in range(int(pause_s * 10)):
        print("still here", flush=True)
        time.sleep(0.1)
    return pause_s


@tm.pipeline(schedule=tm.cron("30 2 * * *", zone="Europe/Berlin"))
def turnover(count: int = 100, day: str = "2026-11-25", wrong: str = "") -> int:
    amount = total(taxed.map(orders(count)), rates(day))
    return sent(invoice(amount, wrong))


@tm.pipeline
def published(count: int = 3) -> float:
    amount = total(taxed.map(orders(count)), 1.0)
    if tm.approve("publish <it>?", timeout="3d"):
        return taxed(amount)
    return 0.0


@tm.pipeline
def sleepy(pause_s: float = 30.0) -> float:
    return slowly(pause_s)


@tm.pipeline
def twice(count: int = 2) -> int:
    return tm.value(turnover(count)) + tm.value(turnover(count, "2026-11-26"))
