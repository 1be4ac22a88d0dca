"""Console histories of the emulator, asked by Oracle's SDK."""

from emulator import compartment_id, instance_id
from oci.core import models as cm
from sdk import gaps, refused, until

WEB = instance_id("web-01")


def capture(sdk, instance=WEB, **fields):
    made = sdk.compute.capture_console_history(cm.CaptureConsoleHistoryDetails(instance_id=instance, **fields)).data
    return until(lambda: sdk.compute.get_console_history(made.id).data, lambda h: h.lifecycle_state == "SUCCEEDED")


def content(sdk, history, **piece):
    reply = sdk.compute.get_console_history_content(history.id, **piece)
    return reply.data, int(reply.headers["opc-bytes-remaining"])


def whole(sdk, history):
    text, left = content(sdk, history, length=1 << 20)
    assert left == 0
    return text if isinstance(text, bytes) else text.encode()


def test_a_capture_takes_its_time(make_cloud):
    """REQUESTED, GETTING-HISTORY, SUCCEEDED on the virtual clock; the content is a 409 before."""
    sdk = make_cloud(transition_seconds=100)
    made = sdk.compute.capture_console_history(cm.CaptureConsoleHistoryDetails(instance_id=WEB)).data
    assert (made.lifecycle_state, made.instance_id, gaps(made)) == ("REQUESTED", WEB, [])
    refused(409, "IncorrectState", sdk.compute.get_console_history_content, made.id)
    states = [made.lifecycle_state]
    for _ in range(2):
        sdk.advance(51)
        states.append(sdk.compute.get_console_history(made.id).data.lifecycle_state)
    assert states == ["REQUESTED", "GETTING-HISTORY", "SUCCEEDED"]


def test_the_text_is_a_boot_and_always_the_same(sdk):
    """Firmware, kernel and login of this instance, with its name; a second capture has the same bytes."""
    first, second = capture(sdk), capture(sdk)
    text = whole(sdk, first).decode()
    assert "UEFI ORACLE BlockVolume" in text
    assert "Linux version" in text
    assert "web-01 login:" in text
    assert whole(sdk, second) == whole(sdk, first)


def test_each_boot_adds_its_text(sdk):
    """After a start the earlier boot is still there, and the new one has times of its own."""
    before = whole(sdk, capture(sdk))
    sdk.compute.instance_action(WEB, "START")
    after = whole(sdk, capture(sdk))
    assert after.startswith(before)
    assert after.count(b"web-01 login:") == 2
    assert after[len(before) :] != before


def test_the_text_comes_in_pieces(sdk):
    """Offset and length cut the text; opc-bytes-remaining counts what follows, to zero and behind the end."""
    history = capture(sdk)
    text = whole(sdk, history)
    pieces, offset, left = [], 0, 1
    while left:
        piece, left = content(sdk, history, offset=offset, length=700)
        pieces.append(piece if isinstance(piece, bytes) else piece.encode())
        offset += 700
        assert left == max(0, len(text) - offset)
    assert b"".join(pieces) == text
    assert content(sdk, history, offset=len(text) + 5)[1] == 0
    assert content(sdk, history, offset=0, length=10)[1] == len(text) - 10
    refused(400, "InvalidParameter", sdk.compute.get_console_history_content, history.id, offset=-1)


def test_histories_are_listed_changed_and_deleted(sdk):
    """Listed by instance and state, renamed under if-match, deleted with a 204; then 404."""
    history = capture(sdk, display_name="first", freeform_tags={"a": "b"})
    other = capture(sdk, display_name="second")
    listed = sdk.compute.list_console_histories(sdk.compartment, instance_id=WEB, lifecycle_state="SUCCEEDED").data
    assert {each.id for each in listed} == {history.id, other.id}
    assert sdk.compute.list_console_histories(sdk.compartment, instance_id=instance_id("none")).data == []
    page = sdk.compute.list_console_histories(sdk.compartment, sort_by="DISPLAYNAME", sort_order="ASC", limit=1)
    assert [each.id for each in page.data] == [history.id]
    assert page.headers["opc-next-page"]
    rename = cm.UpdateConsoleHistoryDetails(display_name="renamed")
    refused(412, "NoEtagMatch", sdk.compute.update_console_history, history.id, rename, if_match="old")
    got = sdk.compute.update_console_history(history.id, rename).data
    assert (got.display_name, got.freeform_tags) == ("renamed", {"a": "b"})
    sdk.compute.delete_console_history(history.id)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_console_history, history.id)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_console_history_content, history.id)


def test_whose_console_can_be_captured(make_cloud):
    """Not an unknown instance's (404), not a terminated one's (409); a retry token captures once."""
    sdk = make_cloud(instances=("web-01", "web-02"))
    wanted = cm.CaptureConsoleHistoryDetails(instance_id=WEB)
    first = sdk.compute.capture_console_history(wanted, opc_retry_token="t").data
    assert sdk.compute.capture_console_history(wanted, opc_retry_token="t").data.id == first.id
    assert len(sdk.compute.list_console_histories(compartment_id("main")).data) == 1
    capture_one = sdk.compute.capture_console_history
    unknown = cm.CaptureConsoleHistoryDetails(instance_id=instance_id("none"))
    refused(404, "NotAuthorizedOrNotFound", capture_one, unknown)
    sdk.compute.terminate_instance(instance_id("web-02"))
    gone = cm.CaptureConsoleHistoryDetails(instance_id=instance_id("web-02"))
    refused(409, "IncorrectState", capture_one, gone)
