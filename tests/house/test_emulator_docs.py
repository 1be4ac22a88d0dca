"""The emulator's page: what it shows is what the emulator prints, takes and has."""

import json
import pathlib
import re

from emulator import fingerprint, private_key, public_pem, write_disk

from hypersdk.cli.emulator import command
from hypersdk_emulator import guide
from hypersdk_emulator.seeds.seed import Reader

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "emulator.md"


def block(kind: str) -> str:
    found = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, kind
    return str(found[0])


def test_the_guide_on_the_page_is_the_one_printed(tmp_path: pathlib.Path) -> None:
    """Line by line what a start tells, `...` standing for any text or lines."""
    place = guide.Place(
        endpoint="http://127.0.0.1:34733",
        ca=None,
        region="us-ashburn-1",
        namespace="rehearsal",
        compartment="ocid1.compartment.oc1..rehearsalweb",
        token="7d2f1",
        bucket="exports",
    )
    login = guide.Login("ocid1.tenancy.oc1..t", "ocid1.user.oc1..u", "aa:bb", "key.pem", ("access", "secret"))
    told = guide.prepare(tmp_path / "client", place, login)
    shown = block("text told").replace("/tmp/hypersdk-emulator-x1y2", str(tmp_path))
    pattern = re.escape(shown).replace(re.escape("..."), ".*")
    assert re.fullmatch(pattern, told, re.DOTALL), told


def test_the_seed_on_the_page_is_taken(tmp_path: pathlib.Path) -> None:
    """The example is a seed as it stands, once it has a disk and a key; every key is in it or in the list below it."""
    text = block("json seed").replace("PUBLIC KEY", json.dumps(public_pem(private_key()))[1:-1])
    value = json.loads(re.sub(r'"fingerprint": "[^"]*"', f'"fingerprint": "{fingerprint(private_key())}"', text))
    write_disk(tmp_path / "db-01.raw", "db", 1 << 20)
    seed = Reader(tmp_path, None).read(value)
    assert seed.instances[0].data_volumes[0].display_name == "data"
    missing = [
        name
        for name in vars(seed)
        if name != "rights" and re.sub("_([a-z])", lambda found: found[1].upper(), name) not in value
    ]
    assert missing == []


def test_the_page_names_every_option() -> None:
    """The table of options is that of the command."""
    table = PAGE.read_text().split("| Option |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(--?[a-z-]+)", "\n".join(row.split("|")[1] for row in table.splitlines())))
    assert named == {name for parameter in command.params for name in parameter.opts}
