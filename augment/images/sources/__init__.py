"""Which images are there? One class for each place that they come from; a configuration names it from here."""

from augment.images.sources.base import IMAGE_SUFFIXES, ImageSource, Item
from augment.images.sources.combined import Combined
from augment.images.sources.digits import Digits
from augment.images.sources.folders import ImageFolder, UnlabelledFolder
from augment.images.sources.hub import HubDataset
from augment.images.sources.hugging_face import SavedDataset
from augment.images.sources.shards import Shards
from augment.images.sources.table import TableFolder
from augment.images.sources.torchvision_sets import TorchvisionDataset

__all__ = [
    "IMAGE_SUFFIXES",
    "Combined",
    "Digits",
    "HubDataset",
    "ImageFolder",
    "ImageSource",
    "Item",
    "SavedDataset",
    "Shards",
    "TableFolder",
    "TorchvisionDataset",
    "UnlabelledFolder",
]
