"""From the kernel's blocks of captured headers to rows of segments: numpy over whole blocks, not packet by packet."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.packets.filter import V4_BYTES, V6_BYTES
from bench.packets.segments import OUT, ROW, SYN, Rows

# What a packet's struct tpacket3_hdr says, and where the packet itself lies behind it (SOCK_DGRAM: at its IP header).
_HEADER = np.dtype(
    {
        "names": ["next", "sec", "nsec", "kept", "length", "net"],
        "formats": ["u4", "u4", "u4", "u4", "u4", "u2"],
        "offsets": [0, 4, 8, 12, 16, 26],
        "itemsize": 48,
    }
)
_MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint8)


def rows_of(block: NDArray[np.uint8], packets: int, servers: Sequence[bytes], port: int) -> Rows:
    """Give a row for each packet of a block, with the kernel's wall-clock time in `t_ns`.

    `block` begins at its first packet's header. `servers` and `port` are those of the filter that let them in.
    """
    at = _places(block, packets)
    heads = block[at[:, None] + np.arange(_HEADER.itemsize)].view(_HEADER)[:, 0]
    at = at + heads["net"]
    rows = np.empty(packets, ROW)
    rows["t_ns"] = heads["sec"].astype(np.int64) * 1_000_000_000 + heads["nsec"]
    is_v6 = heads["kept"] > V4_BYTES
    for chosen, kept in ((~is_v6, V4_BYTES), (is_v6, V6_BYTES)):
        if chosen.any():
            headers = block[at[chosen][:, None] + np.arange(kept)]
            _fill(rows, chosen, headers, heads["length"][chosen], servers, port)
    return rows


def _places(block: NDArray[np.uint8], packets: int) -> NDArray[np.int64]:
    """Where the headers of a block's packets lie: each says how far it is to the next, and mostly that is the same."""
    if packets < 2:
        return np.zeros(packets, np.int64)
    step = int(block[:4].view(np.uint32)[0])
    at = np.arange(packets, dtype=np.int64) * step
    if at[-1] + _HEADER.itemsize <= len(block):
        steps = block[at[:-1, None] + np.arange(4)].view(np.uint32)[:, 0]
        if (steps == step).all():
            return at
    at[1:] = 0
    for i in range(1, packets):
        at[i] = at[i - 1] + block[at[i - 1] : at[i - 1] + 4].view(np.uint32)[0]
    return at


def _fill(
    rows: Rows,
    chosen: NDArray[np.bool_],
    headers: NDArray[np.uint8],
    length: NDArray[np.uint32],
    servers: Sequence[bytes],
    port: int,
) -> None:
    """Take IP and TCP headers of one version apart, a column at a time."""
    is_v6 = headers.shape[1] == V6_BYTES
    tcp = 40 if is_v6 else 20
    source, destination = (headers[:, 8:24], headers[:, 24:40]) if is_v6 else (headers[:, 12:16], headers[:, 16:20])
    ports = _number(headers[:, tcp : tcp + 2]), _number(headers[:, tcp + 2 : tcp + 4])
    from_server = np.where(ports[0] == port, _which(source, servers), -1)
    is_out = from_server < 0
    # The whole of it as IP says; a jumbo packet says 0, and the kernel knows.
    said = _number(headers[:, 4:6]) + 40 if is_v6 else _number(headers[:, 2:4])
    whole = np.where(said == (40 if is_v6 else 0), length, said)
    rows["seq"][chosen] = _number(headers[:, tcp + 4 : tcp + 8])
    rows["bytes"][chosen] = np.maximum(whole - tcp - (headers[:, tcp + 12] >> 4) * 4, 0)
    rows["port"][chosen] = np.where(is_out, *ports)
    rows["server"][chosen] = np.where(is_out, _which(destination, servers), from_server)
    rows["flags"][chosen] = np.where(is_out, OUT, 0) | np.where(headers[:, tcp + 13] & 2, SYN, 0)


def _number(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    return octets.astype(np.int64) @ (256 ** np.arange(octets.shape[1])[::-1])


def _which(address: NDArray[np.uint8], servers: Sequence[bytes]) -> NDArray[np.int64]:
    """The number of each address among the servers', -1 for none of them."""
    found = np.full(len(address), -1)
    for number, server in enumerate(servers):
        own = np.frombuffer(server, np.uint8)
        if address.shape[1] == 16 or (own[:12] == _MAPPED).all():
            found[(address == own[16 - address.shape[1] :]).all(axis=1)] = number
    return found
