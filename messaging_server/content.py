"""What a message may say: the bounds that messaging.proto states at Content and Attachment, checked in one place."""

import re

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused

MAX_MEDIA_TYPE_BYTES = 127
MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_KEY_BYTES = 64
MAX_ATTRIBUTES_BYTES = 1_024
MAX_ATTACHMENTS = 10
MAX_URI_BYTES = 2_048
MAX_NAME_BYTES = 255
SHA256_BYTES = 32

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}([ \t]*;[\x20-\x7e]+)?\Z")
"""RFC 6838 section 4.2, with parameters as RFC 2045 puts them behind."""
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+\Z")
"""RFC 3986: a scheme and what it says; always ASCII, without spaces."""


def invalid(field: str, detail: str, limit: int = 0) -> Refused:
    """A field is missing or malformed."""
    return Refused(messaging.REJECTED_REASON_INVALID_FIELD, detail, field, limit)


def too_large(field: str, detail: str, limit: int) -> Refused:
    """A field is larger than its limit."""
    return Refused(messaging.REJECTED_REASON_TOO_LARGE, f"{detail}: at most {limit}", field, limit)


def utf8_bytes(text: str) -> int:
    """Length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def encode_content(content: messaging.Content, max_bytes: int) -> bytes:
    """The content, deterministically encoded, if it keeps every bound and holds nothing unknown. Raises Refused."""
    body = content.WhichOneof("body")
    if body == "text" and not content.text:
        raise invalid("content.text", "the text must not be empty")
    if body is None and not content.attachments:
        raise invalid("content", "a message needs a body or attachments")
    _check_media_type(content.content_type, "content.content_type", required=body == "data")
    if content.attributes:
        _check_attributes(content)
    if content.attachments:
        _check_attachments(content)
    size = content.ByteSize()
    content.DiscardUnknownFields()  # type: ignore[attr-defined]  # which its stubs forgot
    encoded = content.SerializeToString(deterministic=True)
    if len(encoded) != size:
        # Nobody has checked them. Groups among them nest without bound, and content stands deeper in what clients are told
        # than in what they send: what can be parsed here might end every stream that it is told to, again at each return.
        raise Refused(
            messaging.REJECTED_REASON_UNSUPPORTED,
            "content has fields that this server does not know",
            "content",
        )
    if len(encoded) > max_bytes:
        raise too_large("content", "bytes of the encoded content", max_bytes)
    return encoded


def _check_media_type(value: str, field: str, *, required: bool) -> None:
    if not value and not required:
        return
    if not value:
        raise invalid(field, "a media type is required here")
    if utf8_bytes(value) > MAX_MEDIA_TYPE_BYTES:
        raise too_large(field, "bytes of a media type", MAX_MEDIA_TYPE_BYTES)
    if _MEDIA_TYPE.match(value) is None:
        raise invalid(field, "not a media type (RFC 6838)")


def _check_attributes(content: messaging.Content) -> None:
    field = "content.attributes"
    if len(content.attributes) > MAX_ATTRIBUTES:
        raise too_large(field, "number of attributes", MAX_ATTRIBUTES)
    total = 0
    for key, value in content.attributes.items():
        key_bytes = utf8_bytes(key)
        if not key_bytes:
            raise invalid(field, "an attribute's key must not be empty")
        if key_bytes > MAX_ATTRIBUTE_KEY_BYTES:
            raise too_large(field, "bytes of an attribute's key", MAX_ATTRIBUTE_KEY_BYTES)
        total += key_bytes + utf8_bytes(value)
    if total > MAX_ATTRIBUTES_BYTES:
        raise too_large(field, "bytes of all attributes together", MAX_ATTRIBUTES_BYTES)


def _check_attachments(content: messaging.Content) -> None:
    if len(content.attachments) > MAX_ATTACHMENTS:
        raise too_large("content.attachments", "number of attachments", MAX_ATTACHMENTS)
    for index, attachment in enumerate(content.attachments):
        _check_attachment(attachment, f"content.attachments[{index}]")


def _check_attachment(attachment: messaging.Attachment, field: str) -> None:
    if utf8_bytes(attachment.uri) > MAX_URI_BYTES:
        raise too_large(f"{field}.uri", "bytes of a URI", MAX_URI_BYTES)
    if _ABSOLUTE_URI.match(attachment.uri) is None:
        raise invalid(f"{field}.uri", "not an absolute URI (RFC 3986)")
    _check_media_type(attachment.content_type, f"{field}.content_type", required=True)
    if attachment.size_bytes < 0:
        raise invalid(f"{field}.size_bytes", "a size is not negative")
    if len(attachment.sha256) not in (0, SHA256_BYTES):
        raise invalid(f"{field}.sha256", "a SHA-256 has 32 bytes", SHA256_BYTES)
    if utf8_bytes(attachment.name) > MAX_NAME_BYTES:
        raise too_large(f"{field}.name", "bytes of a name", MAX_NAME_BYTES)
