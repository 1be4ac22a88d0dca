"""What the pytest fixture hands out: one emulator process for many tests, and an empty cloud in it for each."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypersdk_emulator.remote import Remote

REGION = "us-ashburn-1"
NAMESPACE = "emulated"
TENANCY = "ocid1.tenancy.oc1..aaaaemulated"
COMPARTMENT = "ocid1.compartment.oc1..aaaaemulated"
USER = "ocid1.user.oc1..aaaaemulated"
IMAGE = "ocid1.image.oc1.iad.aaaaplatform"
DOMAIN = "Emu:US-ASHBURN-AD-1"
DISK_BYTES = 1 << 20
STOP_SECONDS = 30

Client = TypeVar("Client")


class EmulatorProcess:
    """A running `python -m hypersdk_emulator`; one of a test session.

    Args:
        folder: for its state, the user's key and configuration.
        arguments: further arguments.
    """

    def __init__(self, folder: Path, arguments: Sequence[str] = ()) -> None:
        from hypersdk_emulator.seeds.keypair import write_key

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._arguments = ("--pace", "0", *arguments)
        self.key_file = folder / "key.pem"
        self.public_key, self.fingerprint = write_key(self.key_file)
        self._process: subprocess.Popen[str] | None = None
        self._ready: dict[str, Any] = {}

    def is_running(self) -> bool:
        """True from its start to its end."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> dict[str, Any]:
        """What it printed when it was ready; it is started if it does not run: the first time, or after a crash.

        Raises:
            RuntimeError: it does not start; it has said why on stderr.
        """
        if not self.is_running():
            self._start()
        return self._ready

    def _start(self) -> None:
        self.stop()
        # It is the tests' own and on loopback: their seeds may name any file that they can read.
        command = [sys.executable, "-m", "hypersdk_emulator", "--state", str(self.folder / "state"), "--seed-root", "/"]
        self._process = subprocess.Popen([*command, *self._arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait(STOP_SECONDS)
            raise RuntimeError(f"the emulator did not start (exit {status}); is 'hypersdk[emulator]' installed?")
        self._ready = json.loads(line)

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


class OciEmulator(Remote):
    """An empty cloud for one test: a tenancy with one compartment and one user, whose key signs.

    Args:
        process: where it runs; its cloud is emptied.
    """

    region = REGION
    namespace = NAMESPACE
    tenancy_id = TENANCY
    compartment_id = COMPARTMENT

    def __init__(self, process: EmulatorProcess) -> None:
        ready = process.start()
        ca = Path(ready["ca"]) if ready["ca"] else None
        super().__init__(ready["endpoint"], ready["token"], ca, process.is_running)
        self.key_file = process.key_file
        self.config_file = process.folder / "config"
        self._process = process
        self._begin()

    @property
    def config(self) -> dict[str, str]:
        """The configuration of the `oci` SDK's clients, as `oci.config.from_file` gives it."""
        return {
            "tenancy": TENANCY,
            "user": USER,
            "fingerprint": self._process.fingerprint,
            "key_file": str(self.key_file),
            "region": REGION,
        }

    def _begin(self) -> None:
        """Empty the cloud and let its user in."""
        self.reset()
        lines = [f"{name}={value}" for name, value in self.config.items()]
        self.config_file.write_text("\n".join(["[DEFAULT]", *lines, ""]))
        key = {"fingerprint": self._process.fingerprint, "publicKeyPem": self._process.public_key}
        self.seed(
            {
                "region": REGION,
                "namespace": NAMESPACE,
                "tenancyId": TENANCY,
                "compartments": [{"id": COMPARTMENT, "name": "tests"}],
                "users": [{"id": USER, "apiKeys": [key]}],
            }
        )

    def client(self, kind: Callable[..., Client], **options: Any) -> Client:
        """A client of the `oci` SDK, signed in and pointed here, such as `client(oci.core.ComputeClient)`.

        It repeats nothing and has no circuit breaker, so that a test sees the first answer; options change that.

        Args:
            kind: the client's class.
            options: further arguments of the class.
        """
        import oci

        quiet = {
            "retry_strategy": oci.retry.NoneRetryStrategy(),
            "circuit_breaker_strategy": oci.circuit_breaker.NoCircuitBreakerStrategy(),
        }
        return kind(self.config, service_endpoint=self.endpoint, **{**quiet, **options})

    def bucket(self, name: str = "bucket", **fields: Any) -> str:
        """Make a bucket; returns its name.

        Args:
            name: of the bucket.
            fields: further fields of a seed's bucket, such as `storageTier="Archive"`.
        """
        self.seed({"buckets": [{"name": name, "compartmentId": COMPARTMENT, **fields}]})
        return name

    def instance(self, name: str = "web-01", state: str = "STOPPED", disk: Path | None = None, **fields: Any) -> str:
        """Make an instance; returns its OCID.

        Args:
            name: display name.
            state: its lifecycleState.
            disk: raw file for its boot volume; None = a small disk with a boot sector and nothing else.
            fields: further fields of a seed's instance.
        """
        ocid = f"ocid1.instance.oc1.iad.aaaa{''.join(filter(str.isalnum, name.lower()))}"
        volume = {"id": ocid.replace("instance", "bootvolume", 1), "sizeInGBs": 50, "format": "raw"}
        instance = {
            "id": ocid,
            "displayName": name,
            "compartmentId": COMPARTMENT,
            "availabilityDomain": DOMAIN,
            "shape": "VM.Standard.E4.Flex",
            "lifecycleState": state,
            "imageId": IMAGE,
            "bootVolume": {**volume, "file": str(disk or self.small_disk)},
        }
        platform = {"id": IMAGE, "compartmentId": None, "displayName": "Platform-Linux"}
        system = {"operatingSystem": "Oracle Linux", "operatingSystemVersion": "9"}
        self.seed({"images": [{**platform, **system}], "instances": [{**instance, **fields}]})
        return ocid

    @property
    def small_disk(self) -> Path:
        """The boot disk of instances that have no other."""
        path = self._process.folder / "disk.raw"
        if not path.exists():
            path.write_bytes(bytes(510) + b"\x55\xaa" + b"emulated".ljust(512) + bytes(DISK_BYTES - 1024))
        return path
