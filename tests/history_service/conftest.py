from collections.abc import AsyncIterator

import pytest

from history_service.port import HistoryStore
from tests.history_service.engines import ENGINES, EmbeddedEngine


@pytest.fixture(scope="session", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> EmbeddedEngine:
    """Every engine must pass every test that asks for this."""
    return ENGINES[request.param]


@pytest.fixture
async def store(engine: EmbeddedEngine) -> AsyncIterator[HistoryStore]:
    async with engine.fresh() as opened:
        yield opened
