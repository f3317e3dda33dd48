"""From other data to rows of numbers and back: text and sound."""

from ._sound import LogMelSpectrogram
from ._text import CharacterTokenizer

__all__ = ["CharacterTokenizer", "LogMelSpectrogram"]
