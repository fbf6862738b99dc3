"""One connection to a broker: requests out, answers in the same order, TLS and SASL before that.

The messages are kafka-python's, whose protocol parser does no I/O; the connection is an asyncio protocol. So nothing here
needs a thread: a request costs its encoding, and its answer wakes who waits for it where it is read.
"""

import asyncio
import ssl
from collections import deque
from typing import Any, cast

from kafka.errors import KafkaError, for_code
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.metadata import ApiVersionsRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from event_log.kafka_settings import KafkaSecurity
from event_log.port import LogError, LogUnavailable

CLIENT_ID = "messaging-cell"
MAX_ANSWER_BYTES = 100_000_000


class LoginRefused(LogError):
    """The broker does not take the name and password, or the mechanism; or its certificate is not to be trusted."""


class ConnectionLost(LogUnavailable):
    """The connection broke or took too long; what was asked may have been done."""


class Connection(asyncio.Protocol):
    """Made by `connect`. Requests are answered in their order, so one that takes long holds up those behind it."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.is_open = True
        self._protocol = KafkaProtocol(client_id=CLIENT_ID, receive_message_max_bytes=MAX_ANSWER_BYTES)
        self._versions: BrokerVersionData | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._is_let_in = False
        self._loop = asyncio.get_running_loop()

    def version_of(self, request: type) -> int:
        """The newest version of a request that both sides know."""
        assert self._versions is not None
        return int(self._versions.api_version(request))

    def send(self, request: Any) -> "asyncio.Future[Any]":
        """Write a request; the future has its answer or fails with ConnectionLost. Raises it if nothing was written."""
        if not self.is_open or self._transport is None:
            raise ConnectionLost(f"{self.server} is not connected")
        if request.API_VERSION is None:
            request.API_VERSION = self.version_of(request)
        self._protocol.send_request(request)
        self._transport.write(self._protocol.send_bytes())
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(answer)
        return answer

    async def ask(self, request: Any, timeout_s: float) -> Any:
        """The answer to a request. Raises ConnectionLost, and closes the connection if it takes longer."""
        answer = self.send(request)
        # Also where nobody waits for the answer any more: a connection that gives none is not to be asked again.
        timer = self._loop.call_later(
            timeout_s, self.close, f"{self.server} has not answered within {timeout_s:g} s"
        )
        answer.add_done_callback(lambda _: timer.cancel())
        return await asyncio.shield(answer)

    def close(self, reason: str = "closed") -> None:
        """Close it now. Whoever waits for an answer gets ConnectionLost."""
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not of its subclasses

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            answers = self._protocol.receive_bytes(data)
        except KafkaError as error:
            self.close(f"{self.server} sent what cannot be read: {error}")
            return
        for _, answer in answers:
            waiting = self._waiting.popleft()
            self._is_let_in = self._versions is not None  # ApiVersions is answered to anyone
            if not waiting.done():
                waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        hint = "" if self._is_let_in else "; does it want TLS, or a username and password?"
        self._end(f"{self.server} closed the connection" + (f": {exc}" if exc else "") + hint)

    async def start(self, security: KafkaSecurity, timeout_s: float) -> None:
        """What comes before the first request. Raises LoginRefused, ConnectionLost."""
        answer = await self.ask(
            ApiVersionsRequest(client_software_name=CLIENT_ID, client_software_version="1", version=3),
            timeout_s,
        )
        if answer.error_code:
            raise LogError(f"{self.server} is older than Kafka 3.1")
        versions = {api.api_key: (api.min_version, api.max_version) for api in answer.api_keys}
        self._versions = BrokerVersionData(api_versions=versions)
        if security.username:
            await self._log_in(security, timeout_s)

    async def _log_in(self, security: KafkaSecurity, timeout_s: float) -> None:
        offered = await self.ask(SaslHandshakeRequest(mechanism=security.mechanism, version=1), timeout_s)
        if offered.error_code:
            raise LoginRefused(
                f"{self.server} does not take mechanism {security.mechanism}, but {', '.join(offered.mechanisms) or 'none'}"
            )
        mechanism = get_sasl_mechanism(security.mechanism)(
            sasl_mechanism=security.mechanism,
            sasl_plain_username=security.username,
            sasl_plain_password=security.password,
            security_protocol="SASL_SSL" if security.tls else "SASL_PLAINTEXT",
            host=self.server,
        )
        while not mechanism.is_done():
            answer = await self.ask(SaslAuthenticateRequest(mechanism.auth_bytes()), timeout_s)
            if answer.error_code:
                raise LoginRefused(
                    f"{self.server} does not take username {security.username!r}: {answer.error_message}"
                )
            try:
                mechanism.receive(answer.auth_bytes)
            except ValueError as error:
                raise LoginRefused(f"{self.server} failed to prove itself: {error}") from error

    def _end(self, reason: str) -> None:
        self.is_open = False
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(ConnectionLost(reason))
                waiting.exception()  # nobody has to look at it


async def connect(
    host: str, port: int, security: KafkaSecurity, context: ssl.SSLContext | None, timeout_s: float
) -> Connection:
    """A connection that takes requests. Raises ConnectionLost, LoginRefused."""
    server = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    connection = Connection(server)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: connection, host, port, ssl=context)
            await connection.start(security, timeout_s)
    except TimeoutError:
        connection.close()
        raise ConnectionLost(f"{server} has not answered within {timeout_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise LoginRefused(f"{server} has a certificate that ca_file does not vouch for: {error}") from error
    except ssl.SSLError as error:
        connection.close()
        raise ConnectionLost(f"{server}: TLS failed: {error}") from error
    except OSError as error:
        connection.close()
        over = " over TLS" if context else ""
        raise ConnectionLost(
            f"{server} cannot be reached{over}: {str(error) or type(error).__name__}"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def error_name(code: int) -> str:
    """Kafka's name of an error code."""
    return str(for_code(code).__name__)
