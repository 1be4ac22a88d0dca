"""Is the endpoint that we really use reachable, and may connections that are silent still be alive?

Rules of this room: down = a call got no reply, nothing moves, or the kernel told of a change, **and** the probe of an
endpoint in use (same proxy, same CA) fails; any byte received = up; while down nothing is tried and no attempt is
spent. Events of the kernel and a suspension of this machine only make us ask. The probe is passed in, because `wire`
lies above this floor. Threads of this room ask and watch, they decide nothing: see `monitor.py`.
"""

from hypersdk.network.monitor import NetworkMonitor

__all__ = ["NetworkMonitor"]
