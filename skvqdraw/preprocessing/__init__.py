"""From other data to rows of numbers and back: text, sound, and patches of images and volumes."""

from ._patches import PatchPCA
from ._sound import LogMelSpectrogram
from ._text import CharacterTokenizer

__all__ = ["CharacterTokenizer", "LogMelSpectrogram", "PatchPCA"]
