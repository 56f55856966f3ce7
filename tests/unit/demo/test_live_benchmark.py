"""What benchmarks/live.py counts as the same event, as late, and as lost on the way."""

import struct
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from conftest import benchmark

agreement = benchmark("live_agreement")
relays = benchmark("live_relay")
FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)


def report(smoothed: list[float], step_s: float = 1.6) -> SimpleNamespace:
    scores = [SimpleNamespace(start_s=i * step_s, stop_s=(i + 1) * step_s, smoothed=s) for i, s in enumerate(smoothed)]
    return SimpleNamespace(threshold=0.5, scores=scores)


def live(start_s: float, stop_s: float) -> SimpleNamespace:
    return SimpleNamespace(start=FIRST + timedelta(seconds=start_s), stop=FIRST + timedelta(seconds=stop_s))


def test_runs_of_the_file_that_are_close_are_one_event() -> None:
    scores = [0, 0.9, 0, 0, 0.9, 0.9, 0, 0, 0, 0, 0.9, 0]
    events = agreement.expected_events(report(scores), merge_s=5, until_s=100)
    assert [(e.start_s, e.stop_s, e.known_s) for e in events] == [
        pytest.approx((1.6, 9.6, 3.2)),
        pytest.approx((16.0, 17.6, 17.6)),
    ]
    assert len(agreement.expected_events(report(scores), merge_s=5, until_s=17)) == 1


def test_events_are_the_same_to_a_segment_and_each_once() -> None:
    scores = [0, 0.9, 0, 0, 0, 0, 0.9, 0]
    expected = agreement.expected_events(report(scores), merge_s=5, until_s=100)
    near, far = live(1.7, 3.3), live(12.0, 13.0)
    same, missed, more = agreement.pairs(expected, [near, far], FIRST.timestamp(), 1.6)
    assert [pair.live for pair in same] == [near]
    assert missed == expected[1:]
    assert more == [far]
    same, missed, more = agreement.pairs(expected, [near, live(1.6, 3.2)], FIRST.timestamp(), 1.6)
    assert (len(same), len(missed), len(more)) == (1, 1, 1)


def test_scores_are_compared_segment_by_segment() -> None:
    file = report([0.1, 0.2, 0.3])
    for score, raw in zip(file.scores, (0.1, 0.2, 0.3), strict=True):
        score.raw = raw
    rows = [{"start_s": 0.0, "raw": 0.1}, {"start_s": 1.6, "raw": 0.25}]
    assert agreement.same_scores(rows, file) == (2, 1, pytest.approx(0.05))
    assert agreement.same_scores([{"start_s": 0.1, "raw": 0.1}], file)[2] == float("inf")


def test_a_relay_loses_packets_and_moves_clocks() -> None:
    relay = relays.Relay(server_port=1, seed=3)
    try:
        arrivals = relays.Arrivals()
        packet = struct.pack(">HHII", 0x8060, 1, 1000, 7) + b"picture"
        assert relay.changed(packet, arrivals) == packet
        relay.network.jump_s = 10.0
        moved = relay.changed(packet, arrivals)
        assert struct.unpack(">I", moved[4:8])[0] == 1000 + 10 * relays.RTP_HZ
        assert moved[8:] == packet[8:]
        relay.network = relays.Network(loss=0.3)
        lost = sum(relay.changed(packet, arrivals) is None for _ in range(1000))
        assert 250 < lost < 350
        assert arrivals.lost == lost
        assert arrivals.packets == 1002
    finally:
        relay.close()
