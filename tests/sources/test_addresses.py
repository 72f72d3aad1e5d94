"""Addresses: refused with one sentence where they are malformed, shown without what may be secret."""

from pathlib import Path

import pytest
from media import Sender, write_clip

from realtime_polyp.sources import NetworkSource, SourceError, open_source
from realtime_polyp.sources.addresses import hide_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtmp://u:p@h:1935/live/abc-123?x=1", "rtmp://h:1935/live/***?x=***"),
        ("rtsp://u:p@cam/x", "rtsp://cam/x"),
        ("rtsp://cam:554/x?channel=1&subtype=0", "rtsp://cam:554/x?channel=1&subtype=0"),
        ("http://h/a?token=abc", "http://h/a?token=***"),
        ("http://h/a?TOKEN=abc&width=640", "http://h/a?TOKEN=***&width=640"),
        ("http://h/a?channel=1;key=abc", "http://h/a?channel=1;key=***"),
        ("srt://h:9?passphrase=abc&mode=caller", "srt://h:9?passphrase=***&mode=caller"),
        ("srt://h:9?streamid=#!::u=me,p=abc", "srt://h:9?streamid=#!::u=***"),
        ("rtsp://h/live&user=me&pass=abc", "rtsp://h/live&user=***&pass=***"),
        ("rtsp://h/user=me_password=abc_channel=1.sdp?real_stream", "rtsp://h/user=***?***"),
        ("rtsp://h/channel=1_password=abc", "rtsp://h/channel=***"),
        ("http://h/a?abc", "http://h/a?***"),
        ("http://h/a#abc", "http://h/a#***"),
        ("http://h/a;jsessionid=abc", "http://h/a;jsessionid=***"),
        ("http://h/a?a=%3D==&b=", "http://h/a?a=***&b="),
        ("http://h?next=http://u:abc@x/", "http://h?next=***"),
        ("http://h/p/http://u:abc@x/", "http://h/p/http://x/"),
        ("http://u:a/b@c@h/x", "http://h/x"),
        ("http:/u:abc@h/x?token=abc", "http:/h/x?token=***"),
        ("http://u:abc@[::1", "http://[::1"),
        ("udp://@239.0.0.1:1234?fifo_size=100", "udp://239.0.0.1:1234?fifo_size=100"),
        ("C:/a@b/x=1.mp4", "C:/a@b/x=1.mp4"),
        ("a folder/x@y?token=1.mp4", "a folder/x@y?token=1.mp4"),
        ("", ""),
    ],
)
def test_what_may_be_secret_is_hidden(address: str, shown: str) -> None:
    assert hide_secrets(address) == shown


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://[::1", "its host is malformed"),
        ("http://[::1/x", "its host is malformed"),
        ("rtsp://127.0.0.1:99999/x", "the port must be a number from 1 to 65535"),
        ("udp://127.0.0.1:0", "the port must be a number from 1 to 65535"),
        ("rtsp://h:bad/x", "the port must be a number from 1 to 65535"),
        ("rtsp://h:-1/x", "the port must be a number from 1 to 65535"),
        ("tcp://127.0.0.1", "tcp needs a port, as in tcp://host:5000"),
        ("http://", "it names no host"),
        ("http:///x", "it names no host"),
        ("http://a b/", "it holds a blank or a control character"),
        ("http://a\n/", "it holds a blank or a control character"),
        ("http://a\0/", "it holds a blank or a control character"),
        ("\thttp://a/", "has the scheme"),
        ("://", "has the scheme ''"),
        ("file:///etc/hostname", "has the scheme 'file'"),
        ("concat://a|b", "has the scheme 'concat'"),
        ("subfile,,start,0,end,9,,:file://x", "has the scheme"),
        ("http,timeout,1,,:http://x/", "has the scheme"),
        ("pipe://0", "has the scheme 'pipe'"),
    ],
)
def test_malformed_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://u:abc@127.0.0.1:1/a?token=abc&pass=abc",
        "tcp://u:abc@127.0.0.1:1?passphrase=abc",
        "srt://127.0.0.1:1?passphrase=abc",
        "gopher://u:abc@h/a?token=abc",
        "rtsp://u:abc@h:bad/a?token=abc",
        "http:/u:abc@h/a?token=abc",
        "udp://h:9?token=abc\0",
    ],
)
def test_no_message_and_no_cause_of_it_tells_a_secret(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address)
    shown, error = str(caught.value), caught.value
    assert "abc" not in shown and "***" in shown or "@" not in shown
    assert error.__cause__ is None or "abc" not in str(error.__cause__)
    assert error.__suppress_context__ or error.__context__ is None or "abc" not in str(error.__context__)


def test_live_options_do_not_tell_a_secret() -> None:
    with pytest.raises(SourceError, match=r"http://h/a\?token=\*\*\* plays as it comes"):
        open_source("http://u:abc@h/a?token=abc", loop=True)


def test_the_name_of_a_source_tells_no_secret(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", count=30, rate=25)
    with Sender(clip, "http") as sender:
        source = NetworkSource(f"{sender.url}?token=abc".replace("http://", "http://u:abc@"))
        assert source.name == f"{sender.url}?token=***"
        with pytest.raises(SourceError, match=r"token=\*\*\*") as caught:  # this sender ends without saying so
            list(source.frames())
    assert caught.value.__cause__ is None and "abc" not in str(caught.value)
