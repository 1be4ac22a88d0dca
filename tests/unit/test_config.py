"""Settings from everywhere, merged key by key, each with its source."""

import os
import re
from pathlib import Path

import pytest

from hypersdk import errors
from hypersdk.config import load_config
from hypersdk.config.keys import KEYS

TENANCY = "ocid1.tenancy.oc1..aaaatenancy"
USER = "ocid1.user.oc1..aaaauser"
EXAMPLE = Path(__file__).parents[2] / "examples" / "hypersdk.yaml"


class House:
    """A home and a current directory of their own."""

    def __init__(self, root: Path) -> None:
        self.home, self.cwd = root / "home", root / "work"
        for folder in (self.home / ".oci", self.home / ".config/hypersdk", self.cwd):
            folder.mkdir(parents=True)
        self.environ: dict[str, str] = {}

    def write(self, path: str, text: str) -> Path:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def load(self, **flags: object):
        return load_config(flags, self.environ, cwd=self.cwd, home=self.home)

    def refused(self, **flags: object) -> str:
        with pytest.raises(errors.ConfigError) as refused:
            self.load(**flags)
        assert refused.value.exit_code == 2
        return str(refused.value)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


YAML = ".config/hypersdk/hypersdk.yaml"


def test_every_place_is_weaker_than_the_one_before(house: House) -> None:
    """Flags beat the environment, that beats hypersdk.yaml, that the rc file, that the profile, that [DEFAULT]."""
    house.write(".oci/config", "[DEFAULT]\nregion=ap-tokyo-1\n[P]\nregion=eu-zurich-1\n")
    expected = ["ap-tokyo-1", "eu-zurich-1", "uk-london-1", "ca-toronto-1", "sa-vinhedo-1", "me-dubai-1", "af-cairo-1"]
    sources = ["~/.oci/config:2 [DEFAULT] region", "~/.oci/config:4 [P] region", "~/.oci/oci_cli_rc:2 [P] region"]
    sources += ["~/.config/hypersdk/hypersdk.yaml:2 oci.region", "environment OCI_CLI_REGION"]
    sources += ["environment HYPEREXPORT_OCI_REGION", "--region"]
    seen = []
    for step in range(7):
        if step == 1:
            house.environ["OCI_CLI_PROFILE"] = "P"
        elif step == 2:
            house.write(".oci/oci_cli_rc", "[P]\nregion=uk-london-1\n")
        elif step == 3:
            house.write(YAML, "oci:\n  region: ca-toronto-1\n")
        elif step == 4:
            house.environ["OCI_CLI_REGION"] = "sa-vinhedo-1"
        elif step == 5:
            house.environ["HYPEREXPORT_OCI_REGION"] = "me-dubai-1"
        config = house.load(**({"region": "af-cairo-1"} if step == 6 else {}))
        seen.append((config.oci.region, config.sources["oci.region"]))
    assert seen == list(zip(expected, sources, strict=True))


def test_values_of_one_identity_may_come_from_anywhere(house: House) -> None:
    """C005: credentials in the environment and the one missing value as a flag make a whole."""
    house.environ |= {
        "OCI_CLI_USER": USER,
        "OCI_CLI_TENANCY": TENANCY,
        "OCI_CLI_FINGERPRINT": ":".join(["AB"] * 16),
        "OCI_CLI_KEY_FILE": "~/k.pem",
    }
    oci = house.load(region="eu-frankfurt-1").oci
    assert (oci.user_ocid, oci.tenancy_ocid, oci.region) == (USER, TENANCY, "eu-frankfurt-1")
    assert oci.private_key_path == str(house.home / "k.pem")
    assert oci.fingerprint == ":".join(["ab"] * 16)
    assert (oci.auth, oci.sources["auth"]) == ("api_key", "inferred from environment OCI_CLI_USER")


def test_an_empty_variable_says_nothing(house: House) -> None:
    """`OCI_CLI_REGION=` in a script does not hide the profile's region."""
    house.write(".oci/config", "[DEFAULT]\nregion=ap-tokyo-1\n")
    house.environ["OCI_CLI_REGION"] = ""
    assert house.load().oci.region == "ap-tokyo-1"


def test_options_of_other_rooms_are_filled(house: House) -> None:
    """transfer, retry and network come from their blocks, each key with its twin in the environment."""
    house.write(
        YAML,
        "transfer:\n  part_size: 64M\n  parallel: 3\n"
        "retry: {max_attempts: 2, initial_delay: 500ms, max_delay: 1m, multiplier: 1.5, jitter: no, "
        "max_time: 10m, max_standstill: 1h}\n"
        "network:\n  monitor: off\n  read_timeout: 2m\n",
    )
    house.environ["HYPEREXPORT_TRANSFER_PARALLEL"] = "5"
    config = house.load()
    assert (config.transfer.part_size, config.transfer.parallel) == (64 << 20, 5)
    assert config.sources["transfer.parallel"] == "environment HYPEREXPORT_TRANSFER_PARALLEL"
    retry = config.retry
    assert (retry.max_attempts, retry.initial_delay, retry.max_delay, retry.multiplier) == (2, 0.5, 60.0, 1.5)
    assert not retry.jitter
    assert (retry.max_time, retry.max_standstill) == (600.0, 3600.0)
    assert not config.network_monitor
    assert config.oci.connection.read_timeout == 120
    shown = {line.key: line.value for line in config.shown}
    assert (shown["transfer.part_size"], shown["retry.initial_delay"], shown["network.monitor"]) == (
        "64M",
        "500ms",
        "false",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oci:\n  regoin: x\n", "hypersdk.yaml:2: unknown key 'oci.regoin' - did you mean 'region'?"),
        ("ocl:\n  region: x\n", "hypersdk.yaml:1: unknown block 'ocl' - did you mean 'oci'?"),
        ("oci: x\n", "hypersdk.yaml:1: oci: expected keys below it"),
        ("oci:\n  key_content: x\n", "hypersdk.yaml:2: oci.key_content is never read from a file"),
        ("oci:\n  region: somewhere\n", "hypersdk.yaml:2 oci.region: 'somewhere' is not a region"),
        (
            "oci:\n  user_ocid: ocid1.tenancy.oc1..a\n",
            "hypersdk.yaml:2 oci.user_ocid: an OCID of kind tenancy, expected",
        ),
        ("oci:\n  tenancy_ocid: mine\n", "hypersdk.yaml:2 oci.tenancy_ocid: not an OCID: 'mine'"),
        ("oci:\n  fingerprint: ab:cd\n", "hypersdk.yaml:2 oci.fingerprint: 'ab:cd' is not a fingerprint"),
        ("oci:\n  enabled: maybe\n", "hypersdk.yaml:2 oci.enabled: not a switch: 'maybe'"),
        ("oci:\n  auth: pkcs11\n", "oci.auth: 'pkcs11' is not one of api_key, security_token, instance_principal"),
        ("oci:\n  export_format: iso\n", "hypersdk.yaml:2 oci.export_format: 'iso' is not one of qcow2"),
        ("oci:\n  endpoint: ftp://x\n", "hypersdk.yaml:2 oci.endpoint: not an endpoint"),
        ("oci:\n  endpoint: http://u:p@x\n", "hypersdk.yaml:2 oci.endpoint: not an endpoint"),
        ("oci:\n  proxy: socks5://x\n", "hypersdk.yaml:2 oci.proxy: not a proxy"),
        ("oci:\n  bucket: {a: b}\n", "hypersdk.yaml:2 oci.bucket: expected one value"),
        ("oci:\n  tags: a\n", "hypersdk.yaml:2 oci.tags: not tags"),
        ("transfer:\n  part_size: 1,5G\n", "hypersdk.yaml:2 transfer.part_size: not a size"),
        ("oci:\n  endpoint: http://[::1]:80\n", "hypersdk.yaml:2 oci.endpoint: the SDK takes no IPv6 address"),
        ("transfer:\n  checksum: md5,sha1\n", "hypersdk.yaml:2 transfer.checksum: 'sha1' is not one of sha256, md5"),
        ("transfer:\n  verify: twice\n", "hypersdk.yaml:2 transfer.verify: 'twice' is not one of received, reread"),
        ("transfer:\n  part_size: 1K\n", "hypersdk.yaml:2 transfer.part_size: 1024 bytes is not between"),
        ("transfer:\n  parallel: 0\n", "hypersdk.yaml:2 transfer.parallel: '0' is not a whole number of at least 1"),
        ("network:\n  read_timeout: 0s\n", "hypersdk.yaml:2 network.read_timeout: '0s': no time at all"),
        ("retry:\n  multiplier: nan\n", "hypersdk.yaml:2 retry.multiplier: 'nan' is not a number"),
        ("oci:\n\tregion: x\n", "hypersdk.yaml:2: not YAML"),
    ],
)
def test_each_mistake_in_the_file_names_file_line_and_key(house: House, text: str, message: str) -> None:
    """A wrong or unknown key is refused in one line with where it stands, and the nearest known one."""
    house.write(YAML, text)
    told = house.refused()
    assert message in told
    assert told.startswith("~/.config/hypersdk/")


def test_a_value_that_is_not_used_is_not_judged(house: House) -> None:
    """A broken value in a weaker place does no harm."""
    house.write(YAML, "oci:\n  region: somewhere\n")
    assert house.load(region="uk-london-1").oci.region == "uk-london-1"


def test_unknown_variables_and_flags_are_refused(house: House) -> None:
    """A mistyped variable of ours, or a library caller's mistyped key, is named with the nearest one."""
    house.environ["HYPEREXPORT_OCI_REGOIN"] = "x"
    assert "did you mean 'HYPEREXPORT_OCI_REGION'?" in house.refused()
    house.environ = {"HYPEREXPORT_DEBUG": "1", "OCI_CLI_WHATEVER": "1"}
    assert "did you mean 'region'?" in house.refused(regoin="x")
    assert house.load().oci.region is None


def test_profiles_choose_themselves_in_a_known_order(house: House) -> None:
    """C003: default_profile of the rc file is honoured, stronger places beat it, and each choice says why."""
    house.write(".oci/config", "[DEFAULT]\nregion=ap-tokyo-1\n[C2]\nregion=eu-zurich-1\n[C3]\nregion=uk-london-1\n")
    house.write(".oci/oci_cli_rc", "[OCI_CLI_SETTINGS]\ndefault_profile = C2\n")
    config = house.load()
    assert (config.oci.profile, config.sources["oci.profile"]) == (
        "C2",
        "~/.oci/oci_cli_rc:2 [OCI_CLI_SETTINGS] default_profile",
    )
    assert config.oci.region == "eu-zurich-1"
    assert config.oci.profiles == ("DEFAULT", "C2", "C3")
    house.write("other_rc", "[OCI_CLI_SETTINGS]\ndefault_profile=C3\n")
    house.environ["OCI_CLI_RC_FILE"] = "~/other_rc"
    assert house.load().oci.region == "uk-london-1"
    house.environ["OCI_PROFILE"] = "DEFAULT"
    assert house.load().oci.region == "ap-tokyo-1"
    assert house.load(profile="C2").sources["oci.profile"] == "--profile"


def test_default_profile_in_the_wrong_file_is_told(house: House) -> None:
    """C003: default_profile in ~/.oci/config is not silently ignored, and its section is no profile."""
    house.write(".oci/config", "[DEFAULT]\nregion=ap-tokyo-1\n[OCI_CLI_SETTINGS]\ndefault_profile=C2\n[C2]\n")
    config = house.load()
    assert config.warnings == (
        "~/.oci/config:4: default_profile is not read from this file; it belongs into ~/.oci/oci_cli_rc",
    )
    assert config.oci.profiles == ("DEFAULT", "C2")
    assert "no profile 'OCI_CLI_SETTINGS' (--profile) in ~/.oci/config" in house.refused(profile="OCI_CLI_SETTINGS")


def test_an_unknown_profile_lists_the_known_ones(house: House) -> None:
    """A mistyped profile is answered with all there are; names are case sensitive."""
    house.write(".oci/config", "[DEFAULT]\n[PROD]\n[DEV]\n")
    told = house.refused(profile="prod")
    assert told.startswith("no profile 'prod' (--profile) in ~/.oci/config")
    assert "DEFAULT, PROD, DEV" in told
    (house.home / ".oci/config").unlink()
    assert f"there is no file {house.home}/.oci/config" in house.refused(profile="PROD")


def test_named_files_must_be_there(house: House) -> None:
    """A file that somebody named is never silently absent; the message has the absolute path and who named it."""
    assert house.refused(config="c.yaml").startswith(f"{house.cwd}/c.yaml: there is no such file (named by --config)")
    for variable in (
        "OCI_CLI_CONFIG_FILE",
        "OCI_CONFIG_PATH",
        "OCI_CONFIG_FILE",
        "OCI_CLI_RC_FILE",
        "HYPEREXPORT_CONFIG",
    ):
        house.environ = {variable: "~/gone"}
        assert house.refused().startswith(f"{house.home}/gone: there is no such file (named by environment {variable})")


def test_unreadable_file_is_named(house: House) -> None:
    """A directory in place of a file is one clear line."""
    (house.home / ".oci/config").mkdir()
    assert house.refused().startswith("~/.oci/config: cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[DEFAULT]\nregion = 'uk-london-1'\n", "~/.oci/config:2 [DEFAULT] region: the value stands in quotes"),
        ("[DEFAULT]\nuser=x\n region=y\n", "~/.oci/config:2 [DEFAULT] user: the next line is indented"),
        ("[DEFAULT]\nregion=uk-london-1 # home\n", "~/.oci/config:2 [DEFAULT] region: 'uk-london-1 # home' is not"),
    ],
)
def test_slips_in_the_profile_are_named(house: House, text: str, message: str) -> None:
    """What Oracle's tools would take into the value (quotes, comments, the next line) is refused with its line."""
    house.write(".oci/config", text)
    assert house.refused().startswith(message)


def test_paths_count_from_the_file_they_stand_in(house: House) -> None:
    """C007: relative and ~ paths in any file work from every directory."""
    house.write(
        "elsewhere/config", "[DEFAULT]\nkey_file=./keys/k.pem\nsecurity_token_file=~/token\ncert_bundle=ca.pem\n"
    )
    house.write("elsewhere/ca.pem", "-----BEGIN CERTIFICATE-----\n")
    oci = house.load(config_file="../home/elsewhere/config").oci
    assert oci.private_key_path == str(house.home / "elsewhere/keys/k.pem")
    assert oci.security_token_file == str(house.home / "token")
    assert oci.connection.ca_bundle == str(house.home / "elsewhere/ca.pem")
    house.write(YAML, "oci:\n  private_key_path: k.pem\n")
    assert house.load().oci.private_key_path == str(house.home / ".config/hypersdk/k.pem")
    house.environ["OCI_CLI_KEY_FILE"] = "k.pem"
    assert house.load().oci.private_key_path == str(house.cwd / "k.pem")


def test_the_file_in_the_current_directory_is_read_and_told(house: House) -> None:
    """./hypersdk.yaml beats the user's own, key by key, and one line says that it is in use."""
    house.write(YAML, "oci:\n  region: uk-london-1\n  bucket: mine\n")
    (house.cwd / "hypersdk.yaml").write_text("oci:\n  region: eu-zurich-1\n")
    config = house.load()
    assert (config.oci.region, config.oci.bucket) == ("eu-zurich-1", "mine")
    assert config.warnings == (f"using {house.cwd}/hypersdk.yaml",)
    (house.cwd / "c.yaml").write_text("oci: {region: sa-vinhedo-1}")
    chosen = house.load(config="c.yaml")
    assert (chosen.oci.region, chosen.oci.bucket, chosen.warnings) == ("sa-vinhedo-1", None, ())


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_not_trusted(house: House, mode: int) -> None:
    """./hypersdk.yaml that others can write is not read, and that is said."""
    path = house.cwd / "hypersdk.yaml"
    path.write_text("oci:\n  region: eu-zurich-1\n")
    path.chmod(mode)
    config = house.load()
    assert config.oci.region is None
    assert config.warnings == ("./hypersdk.yaml is not read: others can write it",)


def test_a_file_of_somebody_else_is_not_trusted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """./hypersdk.yaml of another user (in /tmp, say) is not read, and a pipe in its place does not hang."""
    path = house.cwd / "hypersdk.yaml"
    path.write_text("oci:\n  region: eu-zurich-1\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4711)
        assert house.load().warnings == ("./hypersdk.yaml is not read: it belongs to somebody else",)
    path.unlink()
    os.mkfifo(path)
    assert house.load().warnings == ("./hypersdk.yaml is not read: it is not a plain file",)


def test_state_has_its_place(house: House) -> None:
    """The run store lies under XDG_STATE_HOME or where HYPEREXPORT_STATE says; a URL's password is not shown."""
    assert house.load().state == str(house.home / ".local/state/hypersdk/runs.sqlite")
    house.environ["XDG_STATE_HOME"] = "/var/s"
    assert house.load().state == "/var/s/hypersdk/runs.sqlite"
    house.environ["HYPEREXPORT_STATE"] = "runs.db"
    assert house.load().state == str(house.cwd / "runs.db")
    house.environ["HYPEREXPORT_STATE"] = "postgresql://me:hunter2@db/runs"
    config = house.load()
    assert config.state == "postgresql://me:hunter2@db/runs"
    assert "hunter2" not in str(config.shown)


def test_upload_journals_are_beside_the_run_store(house: House) -> None:
    """Journals of uploads have a directory beside the run store; with one elsewhere, in the state directory."""
    assert house.load().uploads == str(house.home / ".local/state/hypersdk/uploads")
    house.environ["HYPEREXPORT_STATE"] = "runs.db"
    assert house.load().uploads == str(house.cwd / "runs.db.uploads")
    house.environ |= {"XDG_STATE_HOME": "/var/s", "HYPEREXPORT_STATE": "postgresql://db/runs"}
    assert house.load().uploads == "/var/s/hypersdk/uploads"


def test_secrets_are_masked_everywhere(house: House) -> None:
    """No representation of a configuration holds a pass phrase, a key's text or a proxy's password."""
    house.environ |= {
        "OCI_CLI_PASSPHRASE": "hunter2",
        "OCI_CLI_KEY_CONTENT": "-----BEGIN hunter2",
        "https_proxy": "http://me:hunter2@proxy:3128",
    }
    config = house.load()
    assert config.oci.pass_phrase is not None
    assert config.oci.connection.proxy is not None
    assert "hunter2" not in repr(config)
    shown = {line.key: line.value for line in config.shown}
    assert shown["oci.pass_phrase"] == shown["oci.key_content"] == shown["oci.proxy"] == "***"


def test_the_example_names_every_key(house: House) -> None:
    """examples/hypersdk.yaml reads as it stands and with every line switched on; no key is missing."""
    text = EXAMPLE.read_text()
    house.write(YAML, text)
    assert house.load().oci.enabled is True
    house.write(YAML, re.sub(r"(?m)^( *)#(?=[a-z])", r"\1", text))
    house.write(".config/hypersdk/ca.pem", "-----BEGIN CERTIFICATE-----\n")
    house.write(".oci/config", "[DEFAULT]\n[PROD]\n")
    config = house.load()
    mentioned = {key for key, source in config.sources.items() if "hypersdk.yaml" in source}
    assert mentioned == {key.dotted for key in KEYS.values() if key.from_file}
    told = dict(re.findall(r"(?m)^ *#?(\w+): (.+)$", text))
    defaults = {key.name: key.default for key in KEYS.values() if key.default is not None}
    assert {name: told[name] for name in defaults} == defaults | {"enabled": "true", "profile": "PROD"}


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted current directory is one clear line, not a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(errors.ConfigError, match="the current directory is gone"):
        load_config({}, {}, home=tmp_path)


def test_a_flag_without_value_says_nothing(house: House) -> None:
    """None from a library caller means: not given."""
    house.environ["OCI_CLI_REGION"] = "uk-london-1"
    assert house.load(region=None).oci.region == "uk-london-1"
