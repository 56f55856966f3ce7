"""For commands that read a bundle, work on it, and write it: none takes away what another has written meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headhunt_svc.detector.bundle import Bundle, load_bundle
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.locks import exclusive


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Write a bundle to `out` while no other command does; waits for one that is at it.

    The lock lies beside the folder, as DVC may hash its content: the same file as that of `sole_writer`.

    Raises:
        OutputError: see exclusive.
    """
    place = out.resolve()
    with exclusive(place.with_name(f".{place.name}.lock")):
        yield


def check_unchanged(bundle: Path, old: Bundle) -> None:
    """Raise ArtifactError if the bundle is not as it was read before: a new one would lack what others have changed."""
    if load_bundle(bundle)[0] != old:
        raise changed_meanwhile(bundle)


def changed_meanwhile(bundle: Path) -> ArtifactError:
    """The error about a bundle that another process has changed since it was read."""
    return ArtifactError(
        f"another process has changed {bundle} since this one read it: nothing is written, run the same command again"
    )
