from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from event_log.port import EventLog
from tests.event_log.engines import EmbeddedEngine, Engine


@pytest.fixture(params=["embedded"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Every engine must pass every test that asks for this."""
    engines = {"embedded": lambda: EmbeddedEngine(tmp_path / "log")}
    return engines[request.param]()


@pytest.fixture
async def event_log(engine: Engine) -> AsyncIterator[EventLog]:
    opened = await engine.open()
    yield opened
    await opened.close()
