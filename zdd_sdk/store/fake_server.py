"""Run as a script with a port: fakeredis over TCP in a process of its own.

A process, because only a process can be paused and killed like an engine, and because the server's
handler threads are not daemons: inside a test they would keep the interpreter from ending. It imports
nothing of zdd_sdk, so that it starts as fast as fakeredis imports and needs no installed package.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(port: int) -> None:
    """Serve on 127.0.0.1 until killed; says ``listening on <port>`` once it accepts. Port 0 takes a free one."""
    from fakeredis import TcpFakeServer
    from fakeredis._clients._tcp_server import TCPFakeRequestHandler

    # A pipeline's replies leave one by one: with Nagle's algorithm each batch would wait 40 ms for an ACK.
    TCPFakeRequestHandler.disable_nagle_algorithm = True
    TcpFakeServer.request_queue_size = 128
    server = TcpFakeServer(("127.0.0.1", port))
    server.daemon_threads = True
    sys.stdout.write(f"listening on {server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
