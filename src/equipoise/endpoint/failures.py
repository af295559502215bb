"""What is said of a request that failed: the only place where kinds of error become statuses of HTTP."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus

from equipoise.endpoint.docs import door, policy
from equipoise.endpoint.http import CLOSE_HEADER, Call, Header, HttpError, Response, error_response
from equipoise.endpoint.logs import log_failure
from equipoise.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    Overloaded,
    RateLimited,
    ServeError,
    StageFailed,
    Unauthorized,
    Unavailable,
)

STATUS: dict[type[ServeError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    BadRequest: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StageFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
}
MOST_IGNORED_DIGITS = 5
"""Of the length of a body that is thrown away unread: 99,999 bytes."""
DOCS = "/docs"
HTML_HEADER: Header = (b"content-type", b"text/html; charset=utf-8")
CHALLENGE_HEADER: Header = (b"www-authenticate", b'Bearer realm="equipoise"')

log = logging.getLogger(__name__)


def failure_response(error: Exception, call: Call) -> Response:
    """What is said of a request that failed; what was the server's own fault is logged."""
    if isinstance(error, HttpError):
        return error_response(error.status, str(error), (CLOSE_HEADER,) if error.close else ())
    call.access.error = type(error).__name__
    if not isinstance(error, ServeError):
        log_failure(log, "a request failed in the server itself", error, call.access)
        found = "the server failed on this request; its log says more"
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, found)
    if isinstance(error, Unauthorized) and _is_page(call):
        return html_response(HTTPStatus.UNAUTHORIZED, door())
    if isinstance(error, StageFailed):
        log_failure(log, "a model failed on a request", error.__cause__ or error, call.access)
    return error_response(STATUS[type(error)], str(error), _error_headers(error, call.headers))


def html_response(status: HTTPStatus, text: str) -> Response:
    """A page."""
    headers = (HTML_HEADER, (b"content-security-policy", policy().encode()))
    return Response(status, text.encode("utf-8", "replace"), headers)


def _error_headers(error: ServeError, headers: Mapping[bytes, bytes]) -> tuple[Header, ...]:
    found: list[Header] = []
    if isinstance(error, Overloaded | RateLimited):
        found.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    if isinstance(error, Unauthorized):
        found.append(CHALLENGE_HEADER)
    if isinstance(error, Unauthorized | Forbidden | RateLimited) and _has_much_to_send(headers):
        found.append(CLOSE_HEADER)
    return tuple(found)


def _has_much_to_send(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body stands behind a head that would take longer to throw away than a connection takes to make."""
    told = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not told.isdigit() or len(told) > MOST_IGNORED_DIGITS


def _is_page(call: Call) -> bool:
    """Whether a browser asks for the page, which cannot send a key before a person has typed it in."""
    return call.access.route == DOCS and b"html" in call.headers.get(b"accept", b"")
