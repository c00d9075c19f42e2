"""What a refusal must look like."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A refusal: HTTP status, gRPC code and what the message must contain (regular expressions).

    `http` and `grpc` may be tuples of what is allowed. `grpc_text` differs from `text` where the protocols do.
    """

    http: int | tuple | None
    grpc: str | tuple | None
    text: str = r"\S"
    grpc_text: str | None = None

    def check_http(self, status: int, message: str) -> None:
        assert status in self._all(self.http), f"HTTP {status}, expected {self.http}: {message}"
        assert re.search(self.text, message), f"{message!r} does not say {self.text!r}"

    def check_grpc(self, code: str, message: str) -> None:
        text = self.text if self.grpc_text is None else self.grpc_text
        assert code in self._all(self.grpc), f"gRPC {code}, expected {self.grpc}: {message}"
        assert re.search(text, message), f"{message!r} does not say {text!r}"

    def check_client(self, status: str, message: str) -> None:
        """By the status of a tritonclient exception: '400' or 'StatusCode.NOT_FOUND'."""
        if status.startswith("StatusCode."):
            self.check_grpc(status.removeprefix("StatusCode."), message)
        else:
            self.check_http(int(status), message)

    @staticmethod
    def _all(allowed):
        return allowed if isinstance(allowed, tuple) else (allowed,)
