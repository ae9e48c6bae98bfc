"""The daemon's configuration: from the environment, a TOML file and the defaults, in this order."""

from ladingd.config.finding import ConfigError
from ladingd.config.loader import load
from ladingd.config.settings import Settings
from ladingd.config.surroundings import checked

__all__ = ["ConfigError", "Settings", "checked", "load"]
