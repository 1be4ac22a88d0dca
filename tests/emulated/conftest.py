"""Tests here talk to the emulator over a socket."""

from emulator_fixtures import emulator, start_emulator
from sdk_fixtures import emulator_process, make_cloud, sdk

__all__ = ["emulator", "emulator_process", "make_cloud", "sdk", "start_emulator"]
