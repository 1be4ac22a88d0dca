"""What a fault does to a list: entries that do not show, pages that hold none and are not the last."""

import json
from datetime import datetime
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.faults import Fault
from hypersdk_emulator.objectstorage import storage

LIST_EFFECTS = frozenset({"list-lags", "list-drops", "empty-page"})
_ENTRIES = ("objects", "items", "data")
_TIMES = ("timeModified", "timeUpdated", "timeCreated", "timeAccepted")


def spoiled(call: Call, fault: Fault, whole: web.StreamResponse) -> web.StreamResponse:
    """The page that a list call answers with under a fault; anything but a list stays as it is."""
    page = _parsed(whole)
    entries = page if isinstance(page, list) else next((page[key] for key in _ENTRIES if key in page), None)
    if entries is None or whole.status != web.HTTPOk.status_code:
        return whole
    headers = {name: value for name, value in whole.headers.items() if name.lower() != "content-length"}
    match fault.effect:
        case "list-drops":
            del entries[-fault.number("count") :]
        case "list-lags":
            begin = call.cloud.clock.timestamp() - fault.seconds
            entries[:] = [entry for entry in entries if _changed(call, entry) <= begin]
        case "empty-page":
            headers |= _empty(call, fault, page, entries)
    return web.Response(status=whole.status, headers=headers, body=json.dumps(page, ensure_ascii=False).encode())


def _parsed(reply: web.StreamResponse) -> Any:
    if not isinstance(reply, web.Response) or not isinstance(reply.body, bytes):
        return {}
    try:
        page = json.loads(reply.body)
    except ValueError:
        return {}
    return page if isinstance(page, dict | list) else {}


def _changed(call: Call, entry: Any) -> float:
    """Virtual time of an entry's last change; the beginning of time if nobody knows."""
    if not isinstance(entry, dict):
        return 0.0
    told = max((entry[key] for key in _TIMES if isinstance(entry.get(key), str)), default="")
    if told:
        return datetime.fromisoformat(told).timestamp()
    if call.operation == "ListObjects":
        found = storage.latest(call.cloud, call.params["bucket"], entry["name"])
        return found.modified if found else 0.0
    return 0.0


def _empty(call: Call, fault: Fault, page: Any, entries: list[Any]) -> dict[str, str]:
    """Take all entries off a page and say that they come on the next one; returns the header that does."""
    first = next((entry["name"] for entry in entries if isinstance(entry, dict) and "name" in entry), "")
    entries.clear()
    if isinstance(page, dict) and "objects" in page:
        # The next page of ListObjects begins with a name; common prefixes may come before the first one.
        names = [name for name in (first, *page.get("prefixes", ())) if name]
        page["prefixes"] = []
        page["nextStartWith"] = min(names, key=str.encode, default=call.query.get("prefix", "") + "\U0010ffff")
        return {}
    return {"opc-next-page": f"{call.query.get('page', '').partition('.')[0]}.{fault.consumed}"}
