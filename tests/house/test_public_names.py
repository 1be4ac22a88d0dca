"""The public names are promised once and resolve."""

import hypersdk


def test_every_promised_name_resolves() -> None:
    """What `__all__` promises can be imported, and nothing resolves that it does not promise."""
    assert hypersdk.__all__ == sorted(hypersdk.__all__)
    assert set(hypersdk.__all__) == set(hypersdk._HOME)
    for name in hypersdk.__all__:
        assert getattr(hypersdk, name) is not None
    assert set(hypersdk.__all__) <= set(dir(hypersdk))
