from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from event_log.port import EventLog
from tests.event_log.engines import EmbeddedEngine, Engine, KafkaEngine
from tests.support.engines import STARTING, kafka, own_run_folder, run_folder

__all__ = ["kafka", "own_run_folder", "run_folder"]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=STARTING)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Every engine must pass every test that asks for this."""
    engines: dict[str, Callable[[], Engine]] = {
        "embedded": lambda: EmbeddedEngine(tmp_path / "log"),
        "kafka": lambda: KafkaEngine(request.getfixturevalue("kafka").addresses()),
    }
    return engines[request.param]()


@pytest.fixture
async def event_log(engine: Engine) -> AsyncIterator[EventLog]:
    opened = await engine.open()
    yield opened
    await opened.close()
