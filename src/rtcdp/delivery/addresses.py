"""Which addresses may be reached: a webhook's address is chosen by people, and must not open what lies inside the network.

Every answer of the resolver is looked at, one that is not allowed refuses the host, and the connection goes to an address
that was looked at: a name that says something else a moment later changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str, int, int], Awaitable[list[Any]]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class Forbidden(OSError):
    """An address that may not be reached; the message names no address of the inner network."""


class AllowedAddresses:
    """What may be reached: the public Internet, and `networks`.

    networks: further ones that are allowed by name, for tools inside.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __contains__(self, text: object) -> bool:
        """Whether the address (as text) may be reached."""
        address = ipaddress.ip_address(str(text).partition("%")[0])
        if any(address.version == network.version and address in network for network in self._networks):
            return True
        inner = _embedded(address)
        if inner is not None:
            return str(inner) in self
        return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address carries to a translator; None where there is none."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


async def lookup(host: str, port: int, family: int) -> list[Any]:
    """The operating system's answers for a name, as `socket.getaddrinfo` gives them."""
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG))


class CheckedResolver(AbstractResolver):
    """Resolves names for aiohttp, and raises Forbidden where one of the answers may not be reached."""

    def __init__(self, allowed: AllowedAddresses, lookup: Lookup = lookup) -> None:
        self._allowed = allowed
        self._lookup = lookup

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of a name, each of which may be reached."""
        found = []
        for answer_family, _, protocol, _, place in await self._lookup(host, port, family):
            address = str(place[0])
            if address not in self._allowed:
                raise Forbidden(f"{host} leads to an address that is not allowed")
            found.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=answer_family,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        if not found:
            raise OSError(f"{host} has no address")
        return found

    async def close(self) -> None:
        """Nothing is held."""
