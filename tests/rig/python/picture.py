"""The test picture and sound, as `tests/support/src/picture.rs` and `sound.rs` describe them."""

import math

import numpy as np

GRID = 16
BITS_PER_ROW = 14
WHITE, BLACK, GREY = 235, 16, 80
TEXTURE_ROW = 9


def with_check(number: int) -> int:
    """The number followed by its CRC-4 (x^4 + x + 1)."""
    remainder = number << 4
    for bit in range(27, 3, -1):
        if remainder >> bit & 1:
            remainder ^= 0b10011 << (bit - 4)
    return number << 4 | remainder


def flash_is_on(number: int, fps: int) -> bool:
    return number % fps < max(fps // 15, 1)


class Painter:
    """Draws frames of one size as I420."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        self.width, self.height, self.fps = width, height, fps
        angle = np.arange(256) * (2 * math.pi / 256)
        wave = 30 * np.sin(angle) + 14 * np.sin(5 * angle) + 6 * np.sin(23 * angle)
        self._wave = wave.astype(np.int16)
        self._columns = np.arange(width)
        self._texture_start = TEXTURE_ROW * height // GRID
        self._rows = np.arange(height - self._texture_start)
        self._frame = np.empty(width * height * 3 // 2, dtype=np.uint8)
        self._luma = self._frame[: width * height].reshape(height, width)
        self._luma[: self._texture_start] = GREY
        self._planes = self._frame[width * height :].reshape(2, height // 2, width // 2)
        self._planes[:] = 128

    def _fill(self, rows: tuple[int, int], columns: tuple[int, int], shade: int) -> None:
        top, bottom = (row * self.height // GRID for row in rows)
        left, right = (column * self.width // GRID for column in columns)
        self._luma[top:bottom, left:right] = shade

    def draw(self, number: int) -> bytes:
        along = self._wave[(self._columns - 3 * number) % 256] + 120
        shift = self._wave[(2 * self._rows + 5 * number) % 256]
        texture = along[np.newaxis, :] + shift[:, np.newaxis]
        self._luma[self._texture_start :] = np.clip(texture, 16, 235)
        chroma_start = TEXTURE_ROW * (self.height // 2) // GRID
        for plane, area in enumerate(self._planes):
            rows = np.arange(area.shape[0] - chroma_start)
            phase = (rows + number * (plane + 1)) * (2 * math.pi / 180)
            area[chroma_start:] = (128 + 50 * np.sin(phase))[:, np.newaxis]
        word = with_check(number % (1 << 24))
        for bit in range(2 * BITS_PER_ROW):
            one = word >> (2 * BITS_PER_ROW - 1 - bit) & 1
            row, column = 1 + bit // BITS_PER_ROW * 2, 1 + bit % BITS_PER_ROW
            for below, shade in enumerate((WHITE, BLACK) if one else (BLACK, WHITE)):
                self._fill((row + below, row + below + 1), (column, column + 1), shade)
        self._fill((6, 8), (1, 7), WHITE if flash_is_on(number, self.fps) else BLACK)
        return self._frame.tobytes()


def sound(start: int, samples: int, rate: int, channels: int) -> bytes:
    """S16LE samples from sample number `start`."""
    seconds = np.arange(start, start + samples) / rate
    into_second = seconds % 1.0
    gain = np.clip(np.minimum(into_second, 0.060 - into_second) / 0.001, 0.0, 1.0)
    value = 0.06 * np.sin(2 * math.pi * 440 * seconds)
    value += gain * 0.5 * np.sin(2 * math.pi * 1000 * into_second)
    mono = np.round(value * 32767).astype("<i2")
    return np.repeat(mono, channels).tobytes()
