"""Tests here talk to the emulator over a socket."""

from emulator_fixtures import emulator, start_emulator

__all__ = ["emulator", "start_emulator"]
