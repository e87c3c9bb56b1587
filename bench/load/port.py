"""The message port between the load processes: Locust's sockets, on which only who has this run's keys is heard.

ZeroMQ's CURVE encrypts and authenticates. The keys are made for each run and go down the pipes that start the
processes. A worker believes whoever has the coordinator's secret key. The coordinator answers whoever knows its public
key, which nobody but the run's own processes is told.
"""

from functools import partial

import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc import zmqrpc

from bench.load.controller import PortKeys

_IPV4_ONLY = True


def secure(keys: PortKeys) -> None:
    """Have Locust make its sockets with these keys from now on."""
    # Locust looks them up there when it makes its runners, and when it connects anew.
    setattr(zmqrpc, "Server", partial(_Server, keys))  # noqa: B010
    setattr(zmqrpc, "Client", partial(_Client, keys))  # noqa: B010


class _Server(zmqrpc.BaseSocket):
    """Locust's own, which binds as soon as it is made, with keys before that."""

    def __init__(self, keys: PortKeys, host: str, port: int) -> None:
        super().__init__(zmq.ROUTER, _IPV4_ONLY)  # type: ignore[no-untyped-call]
        self.socket.curve_publickey, self.socket.curve_secretkey = keys.coordinator_public, keys.coordinator_secret
        self.socket.curve_server = True
        try:
            self.socket.bind(f"tcp://{host}:{port}")
        except zmq.ZMQError as problem:
            raise RPCError(f"Socket bind failure: {problem}") from problem
        self.port = port


class _Client(zmqrpc.BaseSocket):
    def __init__(self, keys: PortKeys, host: str, port: int, identity: str) -> None:
        super().__init__(zmq.DEALER, _IPV4_ONLY)  # type: ignore[no-untyped-call]
        self.socket.curve_publickey, self.socket.curve_secretkey = keys.worker_public, keys.worker_secret
        self.socket.curve_serverkey = keys.coordinator_public
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        self.socket.connect(f"tcp://{host}:{port}")
