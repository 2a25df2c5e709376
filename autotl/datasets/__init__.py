"""Labelled images that need no download: real handwritten digits and drawn wallpaper groups."""

from autotl.datasets.digits import digits
from autotl.datasets.plane_groups import WALLPAPER_GROUPS
from autotl.datasets.wallpaper import wallpaper_groups

__all__ = ["WALLPAPER_GROUPS", "digits", "wallpaper_groups"]
