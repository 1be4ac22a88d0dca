"""Takes each key from the strongest layer that has it, and reads its text by the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypersdk import errors
from hypersdk.config.keys import KEYS
from hypersdk.config.layers import Given, Layer, Place

DEFAULT = "default"


class Merged:
    """All layers seen as one.

    Args:
        layers: the strongest first.
        place: makes paths absolute.
    """

    def __init__(self, layers: Sequence[Layer], place: Place) -> None:
        self._layers = layers
        self._place = place

    def given(self, dotted: str) -> Given | None:
        """The strongest text of a key; None = nobody wrote one."""
        return next((layer[dotted] for layer in self._layers if dotted in layer), None)

    def rank(self, dotted: str) -> int:
        """The place of the layer that decides a key, 0 = strongest; below all layers if nobody wrote it."""
        return next((rank for rank, layer in enumerate(self._layers) if dotted in layer), len(self._layers))

    def first(self, *dotted: str) -> tuple[str, Given] | None:
        """Which of several keys is written in the strongest layer; within one layer, the first named here."""
        for layer in self._layers:
            for name in dotted:
                if name in layer:
                    return name, layer[name]
        return None

    def value(self, dotted: str) -> object:
        """The value of a key: written, else its default, else None.

        Raises:
            ConfigError: the text cannot be read; names where it stands.
        """
        key, given = KEYS[dotted], self.given(dotted)
        if given is None:
            return None if key.default is None else key.parse(key.default)
        try:
            value = key.parse(given.text)
        except ValueError as error:
            raise errors.ConfigError(f"{given.source}: {error}") from error
        return str(self._place.absolute(str(value), given.base)) if key.path else value

    def written(self, dotted: str) -> object:
        """The value of a key for people: sizes and durations as somebody wrote them ("16MiB", "2s").

        Raises:
            ConfigError: the text cannot be read.
        """
        value, given = self.value(dotted), self.given(dotted)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        return given.text if given else KEYS[dotted].default

    def text(self, dotted: str) -> str | None:
        """The value of a key whose values are texts."""
        value = self.value(dotted)
        assert value is None or isinstance(value, str)
        return value

    def number(self, dotted: str) -> float:
        """The value of a key whose values are numbers, and which has a default."""
        value = self.value(dotted)
        assert isinstance(value, int | float)
        return value

    def integer(self, dotted: str) -> int:
        """The value of a key whose values are whole numbers, and which has a default."""
        return int(self.number(dotted))

    def names(self, dotted: str) -> tuple[str, ...]:
        """The value of a key whose values are lists of names, and which has a default."""
        value = self.value(dotted)
        assert isinstance(value, tuple)
        return value

    def source(self, dotted: str) -> str | None:
        """Where the value of a key comes from; None = it has none."""
        given = self.given(dotted)
        if given is None:
            return None if KEYS[dotted].default is None else DEFAULT
        return given.source

    def sources(self) -> dict[str, str]:
        """Dotted key -> where its value comes from, of all keys that have a value."""
        found = {dotted: self.source(dotted) for dotted in KEYS}
        return {dotted: source for dotted, source in found.items() if source is not None}


def without_block(sources: Mapping[str, str], block: str) -> dict[str, str]:
    """The sources of one block's keys, by bare name."""
    prefix = f"{block}."
    return {dotted.removeprefix(prefix): text for dotted, text in sources.items() if dotted.startswith(prefix)}
