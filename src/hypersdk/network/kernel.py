"""What the kernel tells of links, addresses and routes (netlink, Linux only); other systems tell nothing here.

The messages are those of rtnetlink(7). They only say that something changed; whether the endpoint can be reached is for
the probe to find out. A host that makes and drops interfaces all day (containers) costs a probe for each burst, and no
connection: only an address that is gone, or another route to everywhere, breaks connections that stood before.
"""

from __future__ import annotations

import errno
import ipaddress
import select
import sys
from dataclasses import dataclass
from typing import Any

BURST = 0.05
"""Seconds for which further messages are taken as the same change: a link that comes up sends half a dozen."""

EVERYWHERE = 1
"""Longest prefix of a route that many hosts are behind: some VPNs lay 0.0.0.0/1 and 128.0.0.0/1 over the default."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something changed.

    Attributes:
        what: for people.
        breaking: connections that stood before may be dead for good, even if the endpoint can be reached.
    """

    what: str
    breaking: bool = False


class KernelEvents:
    """The kernel's messages. To be made and used in one thread.

    Raises:
        Exception: this system, or what it allows this process, has no such thing.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError("netlink is Linux's")
        # Loaded only here: a tenth of a second, and only once an operation lasts.
        from pyroute2 import IPRoute
        from pyroute2.netlink import rtnl

        self._route = IPRoute()
        try:
            self._route.bind(
                rtnl.RTMGRP_LINK
                | rtnl.RTMGRP_IPV4_IFADDR
                | rtnl.RTMGRP_IPV4_ROUTE
                | rtnl.RTMGRP_IPV6_IFADDR
                | rtnl.RTMGRP_IPV6_ROUTE
            )
        except BaseException:
            self._route.close()
            raise

    def wait(self, seconds: float, wake: int) -> Change | None:
        """Wait for a change.

        Args:
            seconds: longest time.
            wake: a descriptor; the wait ends when it can be read.

        Returns:
            What changed; None = nothing.
        """
        told: dict[Change, None] = {}
        own = self._route.fileno()
        while own in select.select([own, wake], [], [], BURST if told else seconds)[0]:
            try:
                told |= dict.fromkeys(change_of(message) for message in self._route.get())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                told[Change("more than the kernel could tell")] = None
        if not told:
            return None
        return Change(", ".join(dict.fromkeys(each.what for each in told)), any(each.breaking for each in told))

    def close(self) -> None:
        """Listen no more."""
        self._route.close()


def change_of(message: Any) -> Change:
    """What a message of rtnetlink means.

    Args:
        message: as pyroute2 reads it.
    """
    event = str(message.get("event"))
    gone = event.startswith("RTM_DEL")
    after = " gone" if gone else ""
    if event.endswith("LINK"):
        return Change(f"link {message.get_attr('IFLA_IFNAME')}{after or ' ' + str(message.get('state'))}")
    if event.endswith("ADDR"):
        address = str(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        return Change(f"address {address}{after}", gone and not _is_link_local(address))
    target = message.get_attr("RTA_DST")
    wide = int(message.get("dst_len") or 0) <= EVERYWHERE
    return Change(f"route to {'everywhere' if wide else target}{after}", wide)


def _is_link_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_link_local
    except ValueError:
        return False
