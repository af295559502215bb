"""Files in a `multipart/form-data` body (RFC 7578), as browsers and `curl -F` send them."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message

from equipoise.errors import BadRequest

MOST_HEADER_BYTES = 2 << 10
MOST_PARTS = 1000
MOST_BOUNDARY_BYTES = 70


@dataclass(frozen=True)
class Part:
    """One field of a form.

    Attributes:
        name: Of the field.
        filename: Of the file; null for what is no file.
        content: Its bytes.
    """

    name: str
    filename: str | None
    content: bytes


def parts_of(body: bytes, content_type: str, most: int) -> list[Part]:
    """Divide a body into its parts.

    Args:
        body: All of it.
        content_type: Of its request, with the boundary.
        most: Most parts that are taken, `MOST_PARTS` at most.

    Raises:
        BadRequest: It is not such a body, or has more parts.
    """
    boundary = _parameter(content_type, "content-type", "boundary")
    if not boundary or len(boundary) > MOST_BOUNDARY_BYTES:
        raise BadRequest("the content-type multipart/form-data has no usable boundary")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    whole, end, _ = (b"\r\n" + body).partition(mark + b"--")
    if not end:
        raise BadRequest("the body is not whole: it does not end with its boundary and two hyphens")
    most = min(most, MOST_PARTS)
    pieces = whole.split(mark, most + 1)[1:]
    if len(pieces) > most:
        raise BadRequest(f"found more than {most:,} parts; at most {most:,} are taken")
    return [_part(piece) for piece in pieces]


def _part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator or len(head) > MOST_HEADER_BYTES:
        raise BadRequest("a part of the body has no head, or one that is too large")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            said = value.strip().decode("utf-8", "replace")
            field = _parameter(said, "content-disposition", "name")
            return Part(field or "", _parameter(said, "content-disposition", "filename"), content)
    raise BadRequest("a part of the body has no content-disposition, which says what it is called")


def _parameter(value: str, header: str, name: str) -> str | None:
    message = Message()
    message[header] = value.replace("\r", " ").replace("\n", " ")
    found = message.get_param(name, header=header)
    return found if isinstance(found, str) else None
