"""Generators of small images: architectures, data, training, and one trajectory to try.

Nothing here imports lightning, torchvision or scikit-learn before it needs them.
"""

from surfing.architectures import build_generator, generator_from_manifest, generator_names
from surfing.zoo.data import DATA_NAMES, DataError, data_root, load_images
from surfing.zoo.packaged import packaged, packaged_path
from surfing.zoo.recipes import MODEL_NAMES, Recipe, recipe_for
from surfing.zoo.samples import draw_samples, write_sample_sheet
from surfing.zoo.training import train

__all__ = [
    "DATA_NAMES",
    "MODEL_NAMES",
    "DataError",
    "Recipe",
    "build_generator",
    "data_root",
    "draw_samples",
    "generator_from_manifest",
    "generator_names",
    "load_images",
    "packaged",
    "packaged_path",
    "recipe_for",
    "train",
    "write_sample_sheet",
]
