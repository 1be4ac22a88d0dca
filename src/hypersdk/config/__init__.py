"""Settings from everywhere, merged key by key: flags > environment > hypersdk.yaml > ~/.oci/config > defaults.

This room fills the option dataclasses of the rooms below and knows nothing else of them. The rules are those of design
section 5; every value keeps where it came from.
"""

from hypersdk.config.load import Config, Shown, load_config

__all__ = ["Config", "Shown", "load_config"]
