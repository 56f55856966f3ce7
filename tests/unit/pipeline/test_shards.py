"""What the key of a video's features depends on."""

from pathlib import Path

import pytest

from headhunt_svc.params import SegmentationParams
from headhunt_svc.pipeline import shards
from helpers.distributions import install


def test_another_version_of_a_family_that_was_added_makes_features_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").touch()

    def key() -> str:
        shards.features_code.cache_clear()
        return shards.shard_key(
            tmp_path / "a.mp4", "model", None, (), SegmentationParams(length_s=1.6, frames_per_segment=8)
        )

    keys = [key()]
    for version in ("1.0", "1.1"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(install(tmp_path / version, "acme", version, {"acme": "acme:Acme"})))
            keys.append(key())
    assert len(set(keys)) == 3
    assert key() == keys[0]
    shards.features_code.cache_clear()
