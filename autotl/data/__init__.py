"""Data: labelled pictures read from any source, checked, fingerprinted and split without leaks."""

from autotl.data.duplicates import conflicting_labels, duplicate_groups
from autotl.data.memory import as_picture
from autotl.data.near_duplicates import near_duplicates
from autotl.data.oddities import tell_of_oddities, tell_of_overlaps
from autotl.data.pictures import as_seen, decode, from_array, to_pixels
from autotl.data.records import Limits
from autotl.data.remote import MIRRORS, Mirrors
from autotl.data.sources import read_dataset
from autotl.data.splits import Fold, Split, expected_test_size, make_split
from autotl.data.table import ImageSource, ImageTable, Part, Quarantined

__all__ = [
    "MIRRORS",
    "Fold",
    "ImageSource",
    "ImageTable",
    "Limits",
    "Mirrors",
    "Part",
    "Quarantined",
    "Split",
    "as_picture",
    "as_seen",
    "conflicting_labels",
    "decode",
    "duplicate_groups",
    "expected_test_size",
    "from_array",
    "make_split",
    "near_duplicates",
    "read_dataset",
    "tell_of_oddities",
    "tell_of_overlaps",
    "to_pixels",
]
