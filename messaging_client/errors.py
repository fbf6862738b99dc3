"""What can go wrong, as an application sees it. Nothing of gRPC or SQLite comes out of this package."""

from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused: the cell's reasons (RejectedReason), and after them the client's own."""

    INVALID_FIELD = "INVALID_FIELD"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_RECIPIENTS = "TOO_MANY_RECIPIENTS"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_IN_FLIGHT = "TOO_MANY_IN_FLIGHT"
    NOT_FOUND = "NOT_FOUND"
    NOT_ALLOWED = "NOT_ALLOWED"
    MESSAGE_ID_CONFLICT = "MESSAGE_ID_CONFLICT"
    RETRY_TOO_OLD = "RETRY_TOO_OLD"
    CURSOR_INVALID = "CURSOR_INVALID"
    TOKEN_INVALID = "TOKEN_INVALID"
    UNSUPPORTED = "UNSUPPORTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE = "DEADLINE"
    OUTBOX_FULL = "OUTBOX_FULL"
    """The client holds as many commands without an outcome as it may."""
    CLOSED = "CLOSED"
    """The client was closed, or had failed, before the command was sent."""
    OTHER = "OTHER"
    """A reason that this version of the client does not know."""


class MessagingError(Exception):
    """Everything that this package raises on purpose."""


class _Refusal(MessagingError):
    """What the cell, or the client for it, says when it refuses something."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        field: str = "",
        limit: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason, detail)  # so that it can be copied and pickled
        self.reason = reason
        self.detail = detail
        """For people, in English."""
        self.field = field
        """The field at fault, as a path from the command ("content.attributes"); empty if none is."""
        self.limit = limit
        """The limit that was passed; 0 if none was."""
        self.retry_after_s = retry_after_s
        """After how many seconds it may help to try again unchanged; None = it will not."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" + (f" ({self.field})" if self.field else "")


class NotDone(_Refusal):
    """A command did not happen and will not. To try again is safe, and useful if `retry_after_s` is set."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        field: str = "",
        limit: int = 0,
        retry_after_s: float | None = None,
        message_id: str = "",
    ) -> None:
        super().__init__(reason, detail, field=field, limit=limit, retry_after_s=retry_after_s)
        self.message_id = message_id
        """The command's own id."""


class OutcomeUnknown(MessagingError):
    """A command may have happened or not, and the time to find out ran out.

    Either look whether its event comes; or send it again with the same `message_id` and content: the same client goes on
    with it from where it was, so that it is there once all the same.
    """

    def __init__(self, detail: str, *, message_id: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.message_id = message_id


class CallFailed(_Refusal):
    """A question about history or conversations was not answered."""


class ClientFailed(MessagingError):
    """The client cannot go on, and trying again unchanged would not help. A new client is needed."""


class Unauthenticated(ClientFailed):
    """The cell does not take the access token, and the token source had no better one."""


class WrongUser(ClientFailed):
    """The store, or the cursor given, belongs to another user than the access token."""


class StoreFailed(ClientFailed):
    """The store cannot be read or written: the disk is full, or the file is damaged or of a newer version."""


class StoreInUse(StoreFailed):
    """Another client has the store open."""
