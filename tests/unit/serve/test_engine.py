"""Stopping the service from a signal handler."""

import asyncio
import threading

from headhunt_svc.serve import metrics
from headhunt_svc.serve.engine import Engine
from headhunt_svc.settings import Settings


def test_a_signal_that_interrupts_a_metric_does_not_stop_the_process_for_ever(tmp_path) -> None:
    async def service() -> None:
        engine = Engine(Settings(grace_s=0), tmp_path)
        handler = threading.Thread(target=engine.drain, daemon=True)
        with metrics.READY._value._lock:  # as the interrupted code holds it
            handler.start()
            handler.join(5)
            assert not handler.is_alive()
        assert not engine.ready
        await asyncio.sleep(0.01)
        assert metrics.READY._value.get() == 0

    metrics.READY.set(1)
    asyncio.run(service())
