import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.core.splitting import check_no_leak, draw_split
from headhunt_svc.errors import DatasetError

LABELS = {f"v{i}": ("normal", "normal", "fall", "fight")[i % 4] for i in range(400)}


@given(st.integers(0, 1000), st.floats(0.01, 0.4), st.integers(4, 100))
def test_splits_are_disjoint_and_repeat_for_a_seed(seed: int, share: float, count: int) -> None:
    sizes = {"calibration": share, "validation": float(count)}
    split = draw_split(LABELS, sizes, "normal", seed)
    assert split == draw_split(LABELS, sizes, "normal", seed)
    by_split = {s: [v for v in split if split[v] == s] for s in sizes}
    check_no_leak(by_split)
    assert len(by_split["validation"]) == count
    assert len(by_split["calibration"]) == max(round(share * 400), 4)
    for videos in by_split.values():
        kinds = [LABELS[v] for v in videos]
        assert abs(kinds.count("normal") - len(kinds) / 2) <= 1
        assert abs(kinds.count("fall") - kinds.count("fight")) <= 1


def test_another_seed_draws_others() -> None:
    sizes = {"calibration": 0.05}
    assert draw_split(LABELS, sizes, "normal", 0) != draw_split(LABELS, sizes, "normal", 1)


def test_too_many_are_named() -> None:
    with pytest.raises(DatasetError, match=r"split.calibration asks for 500 of 400 videos"):
        draw_split(LABELS, {"calibration": 500}, "normal", 0)
    few = dict(list(LABELS.items())[:6])
    with pytest.raises(DatasetError, match=r"split.validation takes 2 normal and 2 anomalous .* of 4 and 2: ask for"):
        draw_split(few, {"calibration": 4, "validation": 4}, "normal", 0)


def test_a_leak_is_named() -> None:
    check_no_leak({"calibration": ["a"], "test": ["b"]})
    with pytest.raises(DatasetError, match="b: in calibration and in test; what is measured"):
        check_no_leak({"calibration": ["a", "b"], "validation": ["c"], "test": ["b", "d"]})
