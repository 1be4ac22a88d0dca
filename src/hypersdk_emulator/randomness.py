"""The one source of what is random: ids, etags, tokens, chances. With a seed all of it can be had again.

Each purpose has a stream of its own, so that one more request (a poll, say) changes its own id and nothing else.
"""

import base64
import random
import uuid


class Randomness:
    """Draws by purpose.

    Args:
        seed: Same seed, same draws. None: the operating system's randomness, fit for secrets.
    """

    def __init__(self, seed: str | None = None) -> None:
        self._seed = seed
        self._streams: dict[str, random.Random] = {}

    def stream(self, purpose: str) -> random.Random:
        """The generator of one purpose."""
        if self._seed is None:
            return _SYSTEM
        if purpose not in self._streams:
            self._streams[purpose] = random.Random(f"{self._seed}/{purpose}")  # noqa: S311 - meant to be repeatable
        return self._streams[purpose]

    def hex(self, purpose: str, size: int = 16) -> str:
        """This many bytes as hexadecimal digits."""
        return self.stream(purpose).randbytes(size).hex()

    def urlsafe(self, purpose: str, size: int) -> str:
        """This many bytes in the letters of URLs."""
        return base64.urlsafe_b64encode(self.stream(purpose).randbytes(size)).rstrip(b"=").decode()

    def uuid(self, purpose: str) -> str:
        """A UUID of version 4."""
        return str(uuid.UUID(bytes=self.stream(purpose).randbytes(16), version=4))

    def text(self, purpose: str, alphabet: str, length: int) -> str:
        """This many characters of an alphabet."""
        return "".join(self.stream(purpose).choices(alphabet, k=length))


_SYSTEM = random.SystemRandom()
