"""What a client of the service raises where it gets no answer, or a refusal.

In: a status, headers and a body. Out: one error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mtml_deploy.errors import MtmlError


class ClientError(MtmlError):
    """The service refused, or cannot be reached.

    Attributes:
        status: of HTTP; 0 where no answer came.
        code: the word of the error, such as "busy" or "image".
        request_id: under which the service's log tells of it.
        retry_after_s: when to ask again; None tells nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "unreachable",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """Say what the service said."""
        super().__init__(message)
        self.status, self.code = status, code
        self.request_id, self.retry_after_s = request_id, retry_after_s


def refusal(status: int, headers: Mapping[str, str], content: bytes) -> ClientError:
    """The error of an answer; another server in between may answer in its own way."""
    try:
        error = json.loads(content)["error"]
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"status {status}: {content[:200]!r}", "unknown"
    after = headers.get("retry-after", "")
    return ClientError(
        message,
        status=status,
        code=code,
        request_id=headers.get("x-request-id", ""),
        retry_after_s=float(after) if after.isdigit() else None,
    )
