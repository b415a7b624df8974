"""What a model sees of an image."""

from PIL import Image


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an image, `size` x `size` pixels; not resampled if it has that side."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side == size:
        return image
    finer = side > size
    return image.resize(
        (size, size), Image.Resampling.LANCZOS if finer else Image.Resampling.BICUBIC
    )
