from collections.abc import AsyncIterator

import pytest

from history_service.port import HistoryStore
from tests.history_service.engines import NAMES, CassandraEngine, EmbeddedEngine, Engine
from tests.support.engines import STARTING

_PARAMETERS = [pytest.param(name, marks=() if name == "embedded" else STARTING) for name in NAMES]


@pytest.fixture(scope="session", params=_PARAMETERS)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine must pass every test that asks for this."""
    if request.param == "embedded":
        return EmbeddedEngine()
    return CassandraEngine(request.getfixturevalue("cassandra"))


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[HistoryStore]:
    async with engine.fresh() as opened:
        yield opened
