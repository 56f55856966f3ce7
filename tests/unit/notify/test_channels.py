import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from standardwebhooks import Webhook

from conftest import until
from headhunt_svc.errors import ConfigError
from headhunt_svc.notify.channels import DeliveryError, load_channels
from headhunt_svc.notify.messages import Message
from helpers.mqtt import PASSWORD, mqtt_broker
from helpers.receiver import http_receiver
from helpers.smtp import smtp_sink
from helpers.tools import needs_mosquitto

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def message(tmp_path: Path) -> Message:
    picture = tmp_path / "peak.jpg"
    Image.new("RGB", (64, 36), "red").save(picture)
    return Message(
        kind="event", phase="begin", id="e1", camera="<b>hof</b>", start=datetime(2026, 1, 15, 12, tzinfo=UTC),
        score=0.9, picture=picture, link="/v1/events/e1",
    )  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "notify.yaml"
    path.write_text(text)
    return path


def test_a_mail_has_text_link_and_picture(tmp_path: Path, message: Message) -> None:
    with smtp_sink() as sink:
        path = write(
            tmp_path,
            "link: https://h.example.org\nchannels:\n  guards: {apprise: '${MAIL}'}\n  plain: {apprise: '${MAIL}', "
            "pictures: false}\n",
        )
        url = f"mailto://127.0.0.1:{sink.port}?from=headhunt@example.org&to=guards@example.org&mode=insecure"
        channels = load_channels(path, {"MAIL": url})
        channels["guards"].send(message)
        channels["plain"].send(message)
    with_picture, plain = sink.messages
    assert with_picture["Subject"] == "<b>hof</b>: event has begun"
    assert with_picture["To"] == "guards@example.org"
    (picture,) = with_picture.iter_attachments()
    assert picture.get_content_type() == "image/jpeg"
    assert picture.get_content() == message.picture.read_bytes()
    assert list(plain.iter_attachments()) == []
    body = plain.get_body(("html", "plain")).get_content()
    assert "score 0.90" in body
    assert "https://h.example.org/v1/events/e1" in body
    assert "id: e1/begin" in body


def test_a_mail_that_is_not_taken_is_an_error_without_the_password(tmp_path: Path, message: Message) -> None:
    with smtp_sink() as sink:
        sink.refusals = 1
        url = f"mailto://127.0.0.1:{sink.port}?from=h@example.org&to=${{WHO}}@example.org&mode=insecure"
        channels = load_channels(write(tmp_path, f"channels: {{m: {{apprise: '{url}'}}}}"), {"WHO": "s3cret"})
        with pytest.raises(DeliveryError) as failure:
            channels["m"].send(message)
        assert "s3cret" not in str(failure.value)
        channels["m"].send(message)  # the next attempt
    assert len(sink.messages) == 1
    with pytest.raises(DeliveryError):
        channels["m"].send(message)  # nobody listens any more


@needs_mosquitto
def test_mqtt_messages_reach_a_real_broker_also_after_it_was_away(tmp_path: Path, message: Message) -> None:
    text = "channels: {m: {apprise: '${GOOD}'}, wrong: {apprise: '${BAD}'}}"
    with mqtt_broker() as broker:
        urls = {"GOOD": broker.url(), "BAD": broker.url("another-word")}
        channels = load_channels(write(tmp_path, text), urls)
        with broker.subscribed():
            channels["m"].send(message)
            channels["m"].send(message.model_copy(update={"phase": "end"}))
            until(lambda: len(broker.messages) == 2, 10)
        with pytest.raises(DeliveryError) as refused:
            channels["wrong"].send(message)
        assert "another-word" not in str(refused.value)
        broker.stop()
        with pytest.raises(DeliveryError) as away:
            channels["m"].send(message)
        assert PASSWORD not in str(away.value)
        broker.start()
        with broker.subscribed():
            channels["m"].send(message)  # the next attempt
            until(lambda: len(broker.messages) == 3, 10)
    assert {topic for topic, _ in broker.messages} == {"headhunt/yard"}
    assert ["e1/begin" in body for _, body in broker.messages] == [True, False, True]
    assert broker.messages[0][1].startswith("<b>hof</b>: event has begun")


def test_mails_in_a_row_do_not_wait_for_each_other(tmp_path: Path, message: Message) -> None:
    with smtp_sink() as sink:
        url = f"mailto://127.0.0.1:{sink.port}?from=h@example.org&to=g@example.org&mode=insecure"
        channel = load_channels(write(tmp_path, f"channels: {{m: {{apprise: '{url}'}}}}"), {})["m"]
        channel.send(message)
        begun = time.monotonic()
        channel.send(message)
        assert time.monotonic() - begun < 5
    assert len(sink.messages) == 2


def test_a_webhook_is_signed_and_has_the_picture(tmp_path: Path, message: Message) -> None:
    with http_receiver() as receiver:
        path = write(tmp_path, f"channels: {{ops: {{webhook: '{receiver.url}', secret: '${{KEY}}'}}}}")
        channel = load_channels(path, {"KEY": SECRET})["ops"]
        channel.send(message)
        receiver.answers.append(503)
        with pytest.raises(DeliveryError, match="answered 503"):
            channel.send(message)
    headers, body = receiver.posts[0]
    content = Webhook(SECRET).verify(body, headers)
    assert headers["webhook-id"] == content["delivery_id"] == "e1/begin"
    assert base64.b64decode(content["picture"]["base64"]) == message.picture.read_bytes()
    assert (content["kind"], content["phase"], content["score"]) == ("event", "begin", 0.9)
    assert receiver.posts[1][0]["webhook-id"] == "e1/begin"


def test_a_picture_that_was_purged_holds_no_message_back(tmp_path: Path, message: Message) -> None:
    message.picture.unlink()
    with http_receiver() as receiver:
        path = write(tmp_path, f"channels: {{ops: {{webhook: '{receiver.url}', secret: {SECRET}}}}}")
        load_channels(path, {})["ops"].send(message)
    assert "picture" not in json.loads(receiver.posts[0][1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("channels: {a: {apprise: '${NONE}'}, b: {apprise: 'json://${NO}/'}}", "NONE is not set; .*NO is not set"),
        ("channels: {a: {}}", "one of `apprise` and `webhook`"),
        ("channels: {a: {apprise: 'json://h/', webhook: 'https://h/'}}", "one of `apprise` and `webhook`"),
        ("channels: {a: {webhook: 'https://h/'}}", "needs `secret`"),
        ("channels: {a: {webhook: 'ftp://h/', secret: 'whsec_'}}", "channels.a"),
        ("channels: {a: {webhook: 'ftp://h/', secret: '${KEY}'}, b: {apprise: 'x://'}}", "neither http.*channels.b"),
        ("channels: {a b: {apprise: 'json://h/'}}", "pattern"),
        ("channels: {}", "at least 1"),
        ("link: h.example.org\nchannels: {a: {apprise: 'json://h/'}}", "link"),
        ("chanels: {}", "unknown parameter"),
    ],
)
def test_all_mistakes_in_the_file_are_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as failure:
        load_channels(write(tmp_path, text), {"KEY": SECRET})
    assert SECRET not in str(failure.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HEADHUNT_NOTIFY_FILE"):
        load_channels(tmp_path / "none.yaml", {})
