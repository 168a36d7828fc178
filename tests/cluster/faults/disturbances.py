"""Disturbances that last for a while: a file that is away, a disk that is full."""

from pathlib import Path


class Away:
    """A file that is not there for a while; something else may be in its place."""

    def __init__(self, path: Path, instead: bytes | None) -> None:
        self.path, self.instead = path, instead
        self.aside = path.with_name(f"{path.name}.aside")

    def __enter__(self) -> None:
        self.path.rename(self.aside)
        if self.instead is not None:
            self.path.write_bytes(self.instead)
            self.path.chmod(0o644)

    def __exit__(self, *_: object) -> None:
        self.aside.replace(self.path)


def head(image: Path) -> bytes:
    with image.open("rb") as handle:
        return handle.read(1 << 20)


class Full:
    """A disk that is full for a while."""

    def __init__(self, folder: Path) -> None:
        self.filler = folder / "filler"

    def __enter__(self) -> None:
        with self.filler.open("wb", buffering=0) as out:
            try:
                while True:
                    out.write(bytes(1 << 16))
            except OSError:
                pass

    def __exit__(self, *_: object) -> None:
        self.filler.unlink()
