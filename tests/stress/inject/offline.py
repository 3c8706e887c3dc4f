"""Every socket blocked, where $BLOCKED_LOG names a file: each try is an OSError, and a line of that file."""

import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

LOG = "BLOCKED_LOG"


def blocked(*given: object, **more: object) -> NoReturn:
    with open(os.environ[LOG], "a", encoding="utf-8") as log:
        log.write(repr(given)[:200] + "\n")
    raise OSError("the network is blocked")


class Socket(socket.socket):
    def connect(self, address: Any) -> None:
        return super().connect(address) if self.family == socket.AF_UNIX else blocked(address)

    connect_ex = sendto = connect  # type: ignore[assignment]


def install(put: Callable[[Any, str, Any], object] = setattr) -> None:
    if LOG in os.environ:
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            put(socket, name, blocked)
        put(socket, "socket", Socket)
