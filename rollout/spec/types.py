"""The string types of a spec: names, paths and references, each with its grammar and a description.

Used by the sections in `rollout/spec/model.py` and the messages in `rollout/spec/message.py`.
Names, paths and references allow only characters that are safe in shells, URLs and resource names;
free text (arguments, values, reasons) is one line without control characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Annotated, Any

from rollout.deferred import dataclass
from rollout.spec.cron import cron_problem
from rollout.spec.section import AfterValidator, Field

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Allowed:
    """What a value may be, in words, for the schema, the documentation and error messages."""

    words: str

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core), "x-allowed": self.words}


@dataclass(frozen=True)
class DefaultsTo:
    """The default of a field that depends on other fields, in words."""

    words: str

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core), "x-default": self.words}


@dataclass(frozen=True, eq=False)  # hashed by identity: a schema cannot be hashed
class Shorthand:
    """A second, shorter way to write an object, as a JSON Schema; the error messages stay those of
    the object.
    """

    schema: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(core), dict(self.schema)]}


METADATA_HOSTS = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
)

# Control characters, line separators, and characters that reorder text on a screen.
_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_RFC1035 = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
_PROJECT = r"(projects/[a-z0-9][a-z0-9.:-]{1,99}/)?"


def _reachable(host: str, loopback: bool) -> bool:
    """Whether an instance may fetch from this host: not from the metadata server, and not from a
    link-local or unspecified address.

    A name that ends in a number is an address (WHATWG URL standard), and only the dotted-quad form
    is allowed, so that the octal, hex and one-number spellings of 169.254.169.254 do not pass.
    Names that resolve to such an address are not detected.
    """
    name = host.lower().rstrip(".")
    if name in METADATA_HOSTS or name.endswith(".metadata.google.internal"):
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return loopback
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rsplit(".", 1)[-1]):
        return True
    try:
        address = IPv4Address(name)
    except AddressValueError:
        return False
    return not (
        address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or (address.is_loopback and not loopback)
    )


def _image(reference: str) -> str:
    if "@" not in reference and len(reference) > MAX_TAGGED_IMAGE:
        raise ValueError
    first, slash, _ = reference.partition("/")
    if (
        slash
        and ("." in first or ":" in first or first == "localhost")
        and not _reachable(first.partition(":")[0], loopback=True)
    ):
        raise ValueError
    return reference


def _image_signature(signature: str) -> str:
    _, has_end, end = signature.partition(" until ")
    if has_end:
        datetime.fromisoformat(end)  # raises ValueError
    return signature


def _weights(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    if scheme == "https" and not _reachable(
        rest.partition("/")[0].partition(":")[0], loopback=False
    ):
        raise ValueError
    if any(segment in (".", "..") for segment in rest.split("/")):
        raise ValueError
    return uri


def _gate_url(url: str) -> str:
    host = url.removeprefix("https://").partition("/")[0].partition(":")[0]
    if not _reachable(host, loopback=False):
        raise ValueError
    return url


def _without_dots(path: str) -> str:
    if any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError
    return path


def _cron(text: str) -> str:
    if cron_problem(text):
        raise ValueError
    return text


def _timezone(name: str) -> str:
    if name == "UTC":
        return name
    from zoneinfo import ZoneInfo  # imported late: only a release with a schedule needs it

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as why:
        raise ValueError from why
    return name


def is_model_name(text: str) -> bool:
    return re.fullmatch(_MODEL_NAME, text) is not None


def is_gateway_name(text: str) -> bool:
    return re.fullmatch(_GATEWAY_NAME, text) is not None


def is_version(text: str) -> bool:
    return re.fullmatch(_VERSION, text) is not None


def _certificate(name: str) -> str:
    return name if "/" in name else f"global/sslCertificates/{name}"


def _reservation(name: str) -> str:
    return name.removeprefix("reservations/")


_MODEL_NAME = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
ModelName = Annotated[
    str,
    Field(pattern=_MODEL_NAME),
    Allowed(
        "1 to 40 lower-case letters, digits and hyphens, starting with a letter and not ending in a"
        " hyphen"
    ),
]
_VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$"
Version = Annotated[
    str,
    Field(pattern=_VERSION),
    Allowed("1 to 63 letters, digits and . _ + -, starting with a letter or digit"),
]
PlanHash = Annotated[
    str,
    Field(pattern=r"^[0-9a-f]{8}(\.[0-9a-f]{8}){4}$"),
    Allowed("the hash that `slipway plan --out` writes"),
]
Line = Annotated[
    str,
    Field(max_length=500, pattern=f"^[^{_UNPRINTABLE}]*$"),
    Allowed("one line of at most 500 printable characters"),
]
Filter = Annotated[
    str,
    Field(min_length=1, max_length=2000, pattern=f"^[^{_UNPRINTABLE}]*$"),
    Allowed("one line of 1 to 2000 printable characters"),
]

MAX_IMAGE = 512
MAX_TAGGED_IMAGE = MAX_IMAGE - len("@sha256:") - 64  # the digest is added when it is accepted

_IMAGE_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
Image = Annotated[
    str,
    Field(
        max_length=MAX_IMAGE,
        pattern=rf"^(([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(:[0-9]{{1,5}})?/)?{_IMAGE_PART}(/{_IMAGE_PART})*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64})$",
    ),
    AfterValidator(_image),
    Allowed(
        "a container image with a digest or a tag: host/path@sha256:<64 hex> or host/path:tag, not"
        " on a metadata server"
    ),
]
Signature = Annotated[
    str,
    Field(min_length=64, max_length=200, pattern=r"^[A-Za-z0-9+/]+={0,2}$"),
    Allowed("a signature in base64, of 64 to 200 characters"),
]
ImageSignature = Annotated[
    str,
    Field(
        min_length=64,
        max_length=230,
        pattern=r"^[A-Za-z0-9+/]{62,200}={0,2}"
        r"( until [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$",
    ),
    AfterValidator(_image_signature),
    Allowed(
        "a signature in base64, of 64 to 200 characters, and ` until 2027-01-01T00:00:00Z` if the"
        " signed text ends so"
    ),
]
Script = Annotated[
    str,
    Field(min_length=1, max_length=49152, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$"),
    Allowed(
        "a script of 1 to 49152 characters, without control characters other than tab and line feed"
    ),
]
Weights = Annotated[
    str,
    Field(
        max_length=1024,
        pattern=rf"^(gs://[a-z0-9][a-z0-9._-]{{1,220}}[a-z0-9]|https://({_LABEL}\.)*{_LABEL}\.?(:[0-9]{{1,5}})?)(/[A-Za-z0-9._~+=,@%/-]*)?$",
    ),
    AfterValidator(_weights),
    Allowed(
        "gs://bucket/path or https://host/path, of plain characters, without user info or query"
        " and not on a link-local, loopback or metadata host"
    ),
]
GateUrl = Annotated[
    str,
    Field(
        max_length=1024,
        pattern=rf"^https://({_LABEL}\.)*{_LABEL}(:[0-9]{{1,5}})?(/[A-Za-z0-9._~+=,@%/-]*)?$",
    ),
    AfterValidator(_gate_url),
    Allowed(
        "https://host/path, in lower case up to the path, of plain characters, without user info or"
        " query and not on a link-local, loopback or metadata host"
    ),
]
AlertPolicy = Annotated[
    str,
    Field(min_length=1, max_length=512, pattern=f"^[^{_UNPRINTABLE}]+$"),
    Allowed("the display name or the id of an alert policy, one line of 1 to 512 characters"),
]
Argument = Annotated[
    str,
    Field(max_length=4096, pattern=f"^[^{_UNPRINTABLE}]*$"),
    Allowed("one line of at most 4096 printable characters"),
]
EnvName = Annotated[
    str,
    Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    Allowed("letters, digits and _, not starting with a digit"),
]
EnvValue = Annotated[
    str,
    Field(
        max_length=8192,
        pattern=r"^[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*$",
    ),
    Allowed("one line of at most 8192 characters, without NUL"),
]
SecretName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]{1,255}(@(latest|[1-9][0-9]{0,9}))?$"),
    Allowed(
        "the name of a secret in Secret Manager, with @version if not the latest, such as hf-token"
        " or hf-token@3"
    ),
]

RequestPath = Annotated[
    str,
    Field(max_length=1024, pattern=r"^/([A-Za-z0-9._~+,:@%&=?-][A-Za-z0-9._~+,:@%&=?/-]*)?$"),
    AfterValidator(_without_dots),
    Allowed(
        "a path that starts with one /, of letters, digits and . _ ~ + , : @ % & = ? / -, without"
        " dot segments"
    ),
]
RoutePath = Annotated[
    str,
    Field(max_length=255, pattern=r"^(/|(/[A-Za-z0-9._~-]+)+)$"),
    AfterValidator(_without_dots),
    Allowed(
        "/ or /name/name of letters, digits and . _ ~ -, without *, query, empty or dot segments or"
        " a / at the end"
    ),
]
Host = Annotated[
    str,
    Field(max_length=253, pattern=rf"^(\*|{_LABEL}(\.{_LABEL})*)$"),
    Allowed("a lower-case host name without port, or * for any host"),
]
PreviewHost = Annotated[
    str,
    Field(max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})+$"),
    Allowed("a lower-case host name with a dot, without port"),
]
_GATEWAY_NAME = r"^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$"
GatewayName = Annotated[
    str,
    Field(pattern=_GATEWAY_NAME),
    Allowed("1 to 30 lower-case letters, digits and hyphens, starting with a letter"),
]
HeaderName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
    Allowed("the name of a header, of 1 to 63 lower-case letters, digits and hyphens"),
]
Approver = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{2,99}$"),
    Allowed("3 to 100 letters, digits and . _ -, starting with a letter"),
]
HeaderValue = Annotated[
    str,
    Field(max_length=128, pattern=r"^[!-~]([ -~]*[!-~])?$"),
    Allowed("1 to 128 printable ASCII characters, without spaces at the ends"),
]
Certificate = Annotated[
    str,
    Field(pattern=rf"^({_PROJECT}global/sslCertificates/)?{_RFC1035}$"),
    AfterValidator(_certificate),
    Allowed("the name of a global SSL certificate, or global/sslCertificates/<name>"),
]

MachineType = Annotated[
    str,
    Field(max_length=63, pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$"),
    Allowed("a machine type's bare name, such as g2-standard-12"),
]
AcceleratorType = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    Allowed("an accelerator type's bare name, such as nvidia-l4"),
]
BootImage = Annotated[
    str,
    Field(pattern=rf"^{_PROJECT}global/images/(family/)?{_RFC1035}$"),
    Allowed(
        "projects/<project>/global/images/<name> or projects/<project>/global/images/family/<name>"
    ),
]
ServiceAccount = Annotated[
    str,
    Field(
        max_length=254,
        pattern=(
            r"^[a-z0-9][a-z0-9.-]{0,62}@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+gserviceaccount\.com$"
        ),
    ),
    Allowed("a service account's e-mail address, <name>@<project>.iam.gserviceaccount.com"),
]
Network = Annotated[
    str,
    Field(pattern=rf"^{_PROJECT}global/networks/{_RFC1035}$"),
    Allowed("global/networks/<name>, with projects/<project>/ before it if shared"),
]
Subnetwork = Annotated[
    str,
    Field(pattern=rf"^{_PROJECT}regions/[a-z]+-[a-z]+[0-9]+/subnetworks/{_RFC1035}$"),
    Allowed("regions/<region>/subnetworks/<name>, with projects/<project>/ before it if shared"),
]
Reservation = Annotated[
    str,
    Field(pattern=rf"^({_PROJECT}reservations/)?{_RFC1035}$"),
    AfterValidator(_reservation),
    Allowed(
        '"any", "none", the name of a reservation, or projects/<project>/reservations/<name> for a'
        " shared one"
    ),
]
Tag = Annotated[
    str,
    Field(pattern=rf"^{_RFC1035}$"),
    Allowed("1 to 63 lower-case letters, digits and hyphens, starting with a letter"),
]
LabelKey = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$"),
    Allowed("1 to 63 lower-case letters, digits, _ and -, starting with a letter"),
]
LabelValue = Annotated[
    str,
    Field(pattern=r"^[a-z0-9_-]{0,63}$"),
    Allowed("at most 63 lower-case letters, digits, _ and -"),
]

Region = Annotated[
    str,
    Field(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}$"),
    Allowed("a Compute Engine region, such as us-central1"),
]
Zone = Annotated[
    str,
    Field(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}-[a-z][a-z0-9]{0,5}$"),
    Allowed("a Compute Engine zone, such as us-central1-a"),
]

MetricName = Annotated[
    str,
    Field(max_length=200, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9_.:-]+)+$"),
    Allowed("a Cloud Monitoring metric type, such as custom.googleapis.com/queue_depth"),
]
ScheduleName = Annotated[
    str,
    Field(pattern=rf"^{_RFC1035}$"),
    Allowed("1 to 63 lower-case letters, digits and hyphens, starting with a letter"),
]
Cron = Annotated[
    str,
    Field(max_length=200, pattern=r"^[0-9A-Za-z*,/ -]+$"),
    AfterValidator(_cron),
    Allowed(
        "five cron fields (minute, hour, day of month, month, day of week) that match some date,"
        " such as 0 8 * * MON-FRI"
    ),
]
TimeZone = Annotated[
    str,
    Field(max_length=64, pattern=r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"),
    AfterValidator(_timezone),
    Allowed("a time zone of the IANA database, such as Europe/Berlin"),
]

_SELECTOR = (
    r"^([a-zA-Z_:][a-zA-Z0-9_:]*)?\{[^{}\[\]]*[a-zA-Z_][a-zA-Z0-9_]*\s*=~\s*"
    r'"\$(templates|releases|backend_services)"[^{}\[\]]*\}$'
)
Selector = Annotated[
    str,
    Field(max_length=1000, pattern=_SELECTOR),
    Allowed(
        "a selector in PromQL, metric{label=value, ...}, in which one label matches"
        ' =~"$templates", =~"$releases" or =~"$backend_services"'
    ),
]
PromQl = Annotated[
    str,
    Field(min_length=1, max_length=2000, pattern=f"^[^{_UNPRINTABLE}]*$"),
    Allowed("a query in PromQL, of 1 to 2000 printable characters"),
]
GateName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,39}$"),
    Allowed("1 to 40 lower-case letters, digits and _, starting with a letter"),
]
